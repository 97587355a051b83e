"""Settings: every bound, the rules between settings, and how flags are parsed."""

import json
from dataclasses import FrozenInstanceError, fields

import pytest

from nnmpi.config import Config
from nnmpi.errors import InputError
from nnmpi.nn.losses import LOSSES, OUTPUT_ACTIVATIONS
from nnmpi.setting import flag_of, flag_value, parse_batch_size, parse_columns, parse_names, parse_sizes

NAN, INF = float("nan"), float("inf")

# setting → refused values, allowed values
BOUNDS = {
    **{name: ([("a", "b", "a"), (1,)], [(), ("a", "b")]) for name in ("target", "drop", "categories")},
    "log": ([("csv",), ("mlflow", "mlflow")], [(), ("mlflow",)]),
    "hidden": ([(0,), (8, -1), (2.5,)], [(), (1,), (3, 2, 1)]),
    "epochs": ([-1, 2.5], [0, 1]),
    "batch_size": ([0, -1], [1, 10**9, "full"]),
    "learning_rate": ([0, -0.1, NAN, INF], [1e-300, 100.0, 1]),
    "momentum": ([-0.1, 1, 1.5, NAN], [0, 0.999]),
    "lr_decay": ([-1e-9, NAN, INF], [0, 10.0]),
    "lr_step_epochs": ([0, -1], [1]),
    "lr_step_factor": ([0, -0.5, NAN, INF], [0.1, 2.0]),
    "warmup_epochs": ([-0.5, NAN, INF], [0, 0.5, 3]),
    "l2": ([-1e-9, NAN, INF], [0, 0.1]),
    "dropout": ([-0.1, 1, NAN], [0, 0.99]),
    "augment": ([("flip",), ("shift", "shift"), ("noise", "")], [(), ("noise",), ("rotate", "shift")]),
    "early_stopping": ([-1], [0, 1]),
    "monitor": (["loss", "validation_", "test_loss", ""], ["validation_loss"]),
    "validation_fraction": ([1, -0.1, NAN], [0, 0.01, 0.99]),
    "test_fraction": ([0, 1, -0.1, 1.2, NAN], [0.01, 0.99]),
    "seed": ([-1, 2**32], [0, 2**32 - 1]),
    "shards": ([0, -8], [1, 1000, None]),
    "threads": ([0, -1, 10**4, 10**30], [1, 9999, None]),
    "activation": (["relu6", "", "ReLU"], ["relu", "sigmoid", "tanh", "identity"]),
    "loss": (["hinge", ""], ["auto", *LOSSES]),
    "output_activation": (["relu", ""], ["auto"]),
    "task": (["numbers", ""], ["auto", "classification", "regression"]),
    "optimizer": (["lbfgs", ""], ["sgd", "adam"]),
    "lr_schedule": (["linear", ""], ["inverse-time", "constant", "step", "cosine"]),
    "bucket_mb": ([-1, NAN, INF], [0, 0.5, 25, None]),
    "compress": (
        ["", "fp32", "FP16", "powersgd", "powersgd:", "powersgd:0", "powersgd:x", "powersgd:10000", "powersgd:-1"],
        ["fp16", "bf16", "powersgd:1", "powersgd:9999", None],
    ),
    "stall_timeout": ([-1, NAN, INF], [0, 0.5, 300]),
    "keep": ([0, -1], [1, 5]),
    "checkpoint_every": (
        ["", "0steps", "5", "steps", "1.5epochs", "-1minutes", "5 hours"],
        ["1step", "500steps", "2epochs", "10 minutes", "never"],
    ),
    "dtype": (["float16", "int32"], ["float32", "float64"]),
}
REFUSED = [(name, value) for name, (refused, _) in BOUNDS.items() for value in refused]
ALLOWED = [(name, value) for name, (_, allowed) in BOUNDS.items() for value in allowed]


def test_every_bounded_setting_is_tried():
    bounded = {f.name for f in fields(Config) if f.metadata["check"] or f.metadata["choices"]}
    assert bounded <= set(BOUNDS)


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_out_of_bounds_is_refused_with_flag_value_and_what_is_allowed(name, value):
    with pytest.raises(InputError) as refused:
        Config(**{name: value})
    message = str(refused.value)
    assert message.startswith(f"{flag_of(name)} is {flag_value(value)}; allowed are ")
    assert len(message.partition("allowed are ")[2]) > 3
    assert "\n" not in message


@pytest.mark.parametrize(("name", "value"), ALLOWED)
def test_at_the_bound_is_allowed(name, value):
    assert getattr(Config(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("momentum", "numbers from 0 up to, not including, 1"),
        ("learning_rate", "numbers above 0"),
        ("epochs", "whole numbers from 0"),
        ("seed", "whole numbers from 0 to 4294967295"),
        ("batch_size", "whole numbers from 1, or full"),
        ("activation", "relu, sigmoid, tanh, identity"),
        ("augment", "none, or of shift, rotate, noise"),
    ],
)
def test_message_says_what_is_allowed(name, words):
    with pytest.raises(InputError) as refused:
        Config(**{name: BOUNDS[name][0][0]})
    assert str(refused.value).partition("allowed are ")[2].startswith(words)


PAIRS = [(loss, output) for loss in LOSSES for output in OUTPUT_ACTIVATIONS]


@pytest.mark.parametrize(("loss", "output"), [(a, b) for a, b in PAIRS if b not in LOSSES[a]])
def test_output_activation_that_does_not_go_with_the_loss_is_refused(loss, output):
    with pytest.raises(InputError) as refused:
        Config(loss=loss, output_activation=output)
    allowed = ", ".join(LOSSES[loss])
    assert str(refused.value) == (
        f"--output-activation {output} cannot be combined with --loss {loss}; allowed are auto, {allowed}"
    )


@pytest.mark.parametrize(
    ("loss", "output"),
    [(a, b) for a, b in PAIRS if b in LOSSES[a]]
    + [("auto", output) for output in ("auto", "softmax", "identity")]
    + [(loss, "auto") for loss in LOSSES],
)
def test_output_activation_that_goes_with_the_loss_is_allowed(loss, output):
    Config(loss=loss, output_activation=output)


def test_defaults_are_those_of_the_contract():
    assert {f.name: f.default for f in fields(Config)}.items() >= {
        ("data", "digits"),
        ("hidden", (128, 64)),
        ("activation", "relu"),
        ("loss", "auto"),
        ("epochs", 10),
        ("batch_size", 32),
        ("optimizer", "sgd"),
        ("learning_rate", 0.01),
        ("momentum", 0.9),
        ("nesterov", True),
        ("lr_schedule", "inverse-time"),
        ("lr_decay", 1e-6),
        ("warmup_epochs", 0),
        ("l2", 0),
        ("dropout", 0),
        ("augment", ()),
        ("test_fraction", 0.2),
        ("seed", 42),
        ("dtype", "float32"),
    }


def test_settings_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Config().seed = 1


def test_json_holds_every_setting():
    config = Config(hidden=(3, 2), augment=("noise",), batch_size="full")
    parsed = json.loads(json.dumps(config.as_json()))
    assert {name: tuple(v) if isinstance(v, list) else v for name, v in parsed.items()} == vars(config)


@pytest.mark.parametrize(
    ("text", "sizes"), [("128,64", (128, 64)), ("5", (5,)), ("", ()), ("none", ()), (" ", ()), (" 3 , 4 ", (3, 4))]
)
def test_parse_sizes(text, sizes):
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize("text", ["a", "3,", ",", "3;4", "2.5", "3,none"])
def test_parse_sizes_refuses(text):
    with pytest.raises(ValueError, match="invalid literal"):
        parse_sizes(text)


@pytest.mark.parametrize(("text", "size"), [("32", 32), ("full", "full"), ("-1", -1)])
def test_parse_batch_size(text, size):
    assert parse_batch_size(text) == size


@pytest.mark.parametrize("text", ["", "Full", "1.5", "all"])
def test_parse_batch_size_refuses(text):
    with pytest.raises(ValueError, match="invalid literal"):
        parse_batch_size(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("shift,noise", ("shift", "noise")),
        ("none", ()),
        ("", ()),
        (" shift , noise", ("shift", "noise")),
        ("x", ("x",)),
    ],
)
def test_parse_names(text, names):
    assert parse_names(text) == names


@pytest.mark.parametrize(("name", "value"), [("hidden", ()), ("hidden", (3, 2)), ("augment", ("noise",))])
def test_what_is_shown_can_be_read_again(name, value):
    parse = {f.name: f.metadata["parse"] for f in fields(Config)}[name]
    assert parse(flag_value(value)) == value


def test_flag_is_the_name_with_dashes():
    assert flag_of("lr_step_epochs") == "--lr-step-epochs"


def test_buckets_do_not_go_with_deterministic():
    with pytest.raises(InputError, match=r"^--bucket-mb 2 cannot be combined with --deterministic"):
        Config(deterministic=True, bucket_mb=2)
    assert Config(deterministic=True, bucket_mb=0).deterministic


@pytest.mark.parametrize("compress", ["fp16", "powersgd:4"])
@pytest.mark.parametrize(("name", "value"), [("deterministic", True), ("bucket_mb", 0), ("bucket_mb", 2.5)])
def test_compressed_gradients_do_not_go_with_exact_ones(compress, name, value):
    with pytest.raises(InputError) as refused:
        Config(compress=compress, **{name: value})
    assert str(refused.value).startswith(f"--compress {compress} cannot be combined with {flag_of(name)}")
    assert "\n" not in str(refused.value)
    assert Config(compress="none", **{name: value}).compress is None


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a,b",), ('say "x"', "b"), ("none",), (), ("line\nbreak",)])
def test_columns_are_shown_as_they_are_parsed(names: tuple[str, ...]) -> None:
    """A report prints columns in the command that repeats a run."""
    assert parse_columns(flag_value(names)) == names
