"""Damaged input, and how nnmpi must take it: done, or one clear error; in bounded memory and time."""

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
    importlib.import_module(module)  # what commands import when they need it: under watch it would take long

fuzz = settings.get_profile("fuzz")
MEMORY = 64 << 20  # bytes that a small file may cost
SECONDS = 120  # far more than any input takes, on a loaded machine, too
worst = {"bytes": 0}


class OneRank:
    """What a `World` of one rank asks of MPI; only the gathering of rows has something to do."""

    def __getattr__(self, name: str) -> Any:
        return {"Get_rank": lambda: 0, "Get_size": lambda: 1}.get(name, lambda *arguments: None)

    def Allgather(self, mine: Any, everyones: Any) -> None:
        data = bytes(mine[0]) if isinstance(mine, list) else mine.tobytes()
        if data:
            memoryview(everyones[0] if isinstance(everyones, list) else everyones).cast("B")[:] = data


class Alone(World):
    """A world of one rank, without MPI."""

    def __init__(self) -> None:
        names = dict.fromkeys(("IN_PLACE", "BYTE", "FLOAT", "DOUBLE"))
        library = {"Get_library_version": lambda: "no MPI", "Exception": ConnectionError}
        super().__init__(SimpleNamespace(COMM_WORLD=OneRank(), **library, **names))


def is_one_clear_line(text: str) -> bool:
    """Nothing that a terminal would obey, no novel, and not Python's word that memory ran out."""
    return text.isprintable() and 0 < len(text) <= LONGEST + 100 and "Unable to allocate" not in text


def ends_well(work: Callable[[], Any], *contract: type[BaseException]) -> Any:
    """What `work` returns, or None if it ends in an error for users, or of the `contract`; all else fails the test."""
    with bounded(), contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            result = work()
        except CommandError as error:
            assert is_one_clear_line(str(error)), str(error)  # noqa: PT017 (success is as good)
            result = None
        except contract:
            result = None
    for text in (out, err):
        for line in text.getvalue().split("\n"):
            assert line == "" or line.isprintable(), line
    return result


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Neither more than `MEMORY`, allocated by Python and NumPy, nor more than `SECONDS`."""

    def hangs(*_: Any) -> None:
        raise AssertionError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    worst["bytes"] = max(worst["bytes"], peak)
    assert peak < MEMORY, f"{peak / 1e6:.0f} MB"


# bytes


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole`, changed in a few places; or any bytes at all."""
    data = bytearray(whole)
    for kind in draw(st.lists(st.sampled_from(("flip", "cut", "put", "repeat", "number", "end", "any")), min_size=1)):
        a = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(1, 64))
        if kind == "flip" and data:
            data[a] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[a : a + length]
        elif kind == "put":
            data[a:a] = draw(st.binary(max_size=64))
        elif kind == "repeat":
            data[a:a] = data[a : a + length]
        elif kind == "number":
            number = draw(st.sampled_from([0, 1, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 10**11]))
            data[a : a + 8] = number.to_bytes(8, "little")
        elif kind == "end":
            del data[a:]
        else:
            data = bytearray(draw(st.binary(max_size=300)))
    return bytes(data)


# JSON

DEEP = "[" * 3000 + "]" * 3000
NUMBER = "«a number that is none»"
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 255, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, 10**400, 0.5, 1.5, -0.0, 1e-320),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "iris", "x" * 5000, "\x1b[31mred\x07", "\u202e", "\ud800"),
    *("a\nb", "../../x", "random:99999999999x9x2", "random:100x2x2", "/dev/zero", NUMBER, "\0", "ä", DEEP),
    *([], {}, [[]], [None], [1, "a"], {"": 0}, [1] * 5000, {"x": {}}, [[1, 2], [3]]),
)
odd = st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=8)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to each node below the root of a tree of JSON."""
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in below:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> Any:
    """`tree` with a few nodes removed, repeated, renamed or replaced."""
    tree = json.loads(json.dumps(tree))
    for kind in draw(
        st.lists(st.sampled_from(("replace", "replace", "remove", "add", "rename")), min_size=1, max_size=3)
    ):
        paths = list(places(tree))
        if not paths:
            return draw(odd)
        *path, key = draw(st.sampled_from(paths))
        node = tree
        for step in path:
            node = node[step]
        if kind == "replace":
            node[key] = copy.deepcopy(draw(odd))
        elif kind == "remove":
            del node[key]
        elif kind == "add" and isinstance(node, list):
            node.insert(key, copy.deepcopy(draw(odd | st.just(node[key]))))
        elif kind == "add":
            node[draw(st.text(max_size=5))] = copy.deepcopy(draw(odd))
        elif isinstance(node, dict):
            node[draw(st.text(max_size=5))] = node.pop(key)
    return tree


@st.composite
def json_text(draw: st.DrawFn, tree: Any) -> str:
    """JSON of a changed `tree`, and what only its text can hold: a number beyond all, depth, a key twice."""
    text = json.dumps(draw(changed(tree)))
    text = text.replace(json.dumps(NUMBER), draw(st.sampled_from(["1e400", "-1e400", "9" * 5000, "01", "NaN"])))
    if DEEP in text:
        text = text.replace(json.dumps(DEEP), DEEP)
    if draw(st.integers(0, 9)) == 0:
        key = draw(st.sampled_from(["format", "data", "epoch", "sha256"]))
        text = text.replace("{", f'{{"{key}": 1, ', 1)
    return text
