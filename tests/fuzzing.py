"""Damaged inputs, and the check of how nnmpi handles them: success or one clear error, in bounded memory and time."""

import contextlib
import copy
import importlib
import io
import json
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from nnmpi.errors import CommandError
from nnmpi.mpi.world import World
from nnmpi.text import LONGEST

for module in (
    "scipy.ndimage",
    "sklearn.datasets",
    "sklearn.model_selection",
    "nnmpi.commands.apply",
    "nnmpi.commands.info",
    "nnmpi.commands.train",
):
    importlib.import_module(module)  # commands import these late; an import is slow while memory is traced

fuzz = settings.get_profile("fuzz")
MEMORY = 64 << 20  # bytes that an input may cost
SECONDS = 120  # far more than any input takes, even on a busy machine
largest_peak = {"bytes": 0}


class OneRank:
    """A communicator with one rank for `World`. Only ``Allgather`` copies data; other calls do nothing."""

    def __getattr__(self, name: str) -> Any:
        return {"Get_rank": lambda: 0, "Get_size": lambda: 1}.get(name, lambda *arguments: None)

    def Allgather(self, own: Any, gathered: Any) -> None:
        data = bytes(own[0]) if isinstance(own, list) else own.tobytes()
        if data:
            memoryview(gathered[0] if isinstance(gathered, list) else gathered).cast("B")[:] = data


class Alone(World):
    """A world of one rank, without MPI."""

    def __init__(self) -> None:
        names = dict.fromkeys(("IN_PLACE", "BYTE", "FLOAT", "DOUBLE"))
        library = {"Get_library_version": lambda: "no MPI", "Exception": ConnectionError}
        super().__init__(SimpleNamespace(COMM_WORLD=OneRank(), **library, **names))


def is_one_clear_line(text: str) -> bool:
    """Return whether `text` has no control characters, is short, and is not NumPy's own error about memory."""
    return text.isprintable() and 0 < len(text) <= LONGEST + 100 and "Unable to allocate" not in text


def ends_well(work: Callable[[], Any], *allowed: type[BaseException]) -> Any:
    """Return the result of `work`, or None after an error for users or one that is `allowed`. Others fail the test."""
    with bounded(), contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            result = work()
        except CommandError as error:
            assert is_one_clear_line(str(error)), str(error)  # noqa: PT017 (success is allowed, too)
            result = None
        except allowed:
            result = None
    for text in (out, err):
        for line in text.getvalue().split("\n"):
            assert line == "" or line.isprintable(), line
    return result


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Check that the block takes at most `SECONDS`, and that Python and NumPy allocate less than `MEMORY` in it."""

    def fail(*_: Any) -> None:
        raise AssertionError(f"not done after {SECONDS} s")

    old_handler = signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old_handler)
    largest_peak["bytes"] = max(largest_peak["bytes"], peak)
    assert peak < MEMORY, f"{peak / 1e6:.0f} MB"


# bytes


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw `whole` with a few changes, or arbitrary bytes."""
    data = bytearray(whole)
    for change in draw(st.lists(st.sampled_from(("flip", "cut", "put", "repeat", "number", "end", "any")), min_size=1)):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(1, 64))
        if change == "flip" and data:
            data[start] = draw(st.integers(0, 255))
        elif change == "cut":
            del data[start : start + length]
        elif change == "put":
            data[start:start] = draw(st.binary(max_size=64))
        elif change == "repeat":
            data[start:start] = data[start : start + length]
        elif change == "number":
            number = draw(st.sampled_from([0, 1, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 10**11]))
            data[start : start + 8] = number.to_bytes(8, "little")
        elif change == "end":
            del data[start:]
        else:
            data = bytearray(draw(st.binary(max_size=300)))
    return bytes(data)


# JSON

DEEP = "[" * 3000 + "]" * 3000
NUMBER = "«a number that is none»"  # json_text replaces it by text that json.dumps never writes
UNUSUAL: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 255, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, 10**400, 0.5, 1.5, -0.0, 1e-320),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "iris", "x" * 5000, "\x1b[31mred\x07", "\u202e", "\ud800"),
    *("a\nb", "../../x", "random:99999999999x9x2", "random:100x2x2", "/dev/zero", NUMBER, "\0", "ä", DEEP),
    *([], {}, [[]], [None], [1, "a"], {"": 0}, [1] * 5000, {"x": {}}, [[1, 2], [3]]),
)
unusual = st.sampled_from(UNUSUAL) | st.integers() | st.floats() | st.text(max_size=8)


def node_paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each node of a JSON tree, except the root."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in children:
        yield (*path, key)
        yield from node_paths(value, (*path, key))


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> Any:
    """Draw `tree` with a few nodes removed, added, renamed or replaced."""
    tree = json.loads(json.dumps(tree))
    for change in draw(
        st.lists(st.sampled_from(("replace", "replace", "remove", "add", "rename")), min_size=1, max_size=3)
    ):
        paths = list(node_paths(tree))
        if not paths:
            return draw(unusual)
        *path, key = draw(st.sampled_from(paths))
        node = tree
        for step in path:
            node = node[step]
        if change == "replace":
            node[key] = copy.deepcopy(draw(unusual))
        elif change == "remove":
            del node[key]
        elif change == "add" and isinstance(node, list):
            node.insert(key, copy.deepcopy(draw(unusual | st.just(node[key]))))
        elif change == "add":
            node[draw(st.text(max_size=5))] = copy.deepcopy(draw(unusual))
        elif isinstance(node, dict):
            node[draw(st.text(max_size=5))] = node.pop(key)
    return tree


@st.composite
def json_text(draw: st.DrawFn, tree: Any) -> str:
    """Draw JSON text of a changed `tree`, sometimes with invalid or huge numbers, deep nesting or a duplicate key."""
    text = json.dumps(draw(changed(tree)))
    text = text.replace(json.dumps(NUMBER), draw(st.sampled_from(["1e400", "-1e400", "9" * 5000, "01", "NaN"])))
    if DEEP in text:
        text = text.replace(json.dumps(DEEP), DEEP)
    if draw(st.integers(0, 9)) == 0:
        key = draw(st.sampled_from(["format", "data", "epoch", "sha256"]))
        text = text.replace("{", f'{{"{key}": 1, ', 1)
    return text
