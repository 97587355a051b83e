"""Every setting takes values of its own type and equivalent Python values, and refuses other types."""

import json
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_origin

import numpy as np
import pytest

from nnmpi.config import Config
from nnmpi.errors import InputError
from nnmpi.setting import flag_of, flag_value

WRONG = {bool: ["no", 1, 0.0, None], int: [True, 2.5, [3], "many"], float: [True, "1", [0.1], None, 1j, 10**400]}
WRONG |= {str: [5, True, None, ["a"], b"a"], tuple: [5.5, True, (True,), [[1]], {"a": 1}, None, ("a", 1)]}


@pytest.mark.parametrize("field", fields(Config), ids=lambda f: f.name)
def test_another_type_is_refused_with_flag_value_and_what_is_allowed(field):
    type_ = tuple if get_origin(field.type) is tuple else (get_args(field.type) or (field.type,))[0]
    for value in WRONG[type_]:
        if value is None and field.default is None:
            continue
        with pytest.raises(InputError) as refused:
            Config(**{field.name: value})
        assert str(refused.value).startswith(f"{flag_of(field.name)} is {flag_value(value)}; allowed are ")
        assert len(str(refused.value).partition("allowed are ")[2]) > 3


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", np.int64(7), 7),
        ("learning_rate", np.float32(0.5), 0.5),
        ("learning_rate", 1, 1.0),
        ("nesterov", np.bool_(False), False),
        ("activation", np.str_("tanh"), "tanh"),
        ("hidden", 64, (64,)),
        ("hidden", [np.int32(8), 4], (8, 4)),
        ("hidden", np.array([8, 4]), (8, 4)),
        ("hidden", "8,4", (8, 4)),
        ("batch_size", "64", 64),
        ("target", "late", ("late",)),
        ("augment", ["noise"], ("noise",)),
        ("test_data", Path("test.csv"), "test.csv"),
    ],
)
def test_values_from_python_become_the_type_of_the_setting(name, value, expected):
    stored = getattr(Config(**{name: value}), name)
    assert (type(stored), stored) == (type(expected), expected)
    assert json.loads(json.dumps(Config(**{name: value}).as_json()))
