"""Which directory a run gets, so that no run overwrites another one or what is no run at all."""

import contextlib
import itertools
import json
import uuid
from pathlib import Path
from typing import Any, Literal

from nnmpi.errors import InputError
from nnmpi.files.atomic import check_replaceable
from nnmpi.files.run_lock import RunLock, check_unlocked

State = Literal["free", "finished", "unfinished", "other"]
LARGEST = 1 << 24  # bytes of a config.json
RUNS = "runs"
FILES = ("config.json", "metrics.jsonl", "model.safetensors")


def choose_directory(output: str | None, data: str, resume: bool, overwrite: bool) -> Path:
    """The directory for a run; nothing is written.

    That is `output`. By default it is ``runs/`` and the name of the data, with ``-2``, ``-3``, … where that is taken by
    a finished run, a run that goes on, or one of other data. To `resume` it is the newest unfinished one of the same
    data, to `overwrite` the first one of the same data.

    Raises
    ------
    InputError
        If the directory cannot be used, is in use, or holds a run that would be lost.
    """
    directory = Path(output) if output else _default(data, resume, overwrite)
    _check_usable(directory)
    if not (resume or overwrite):
        _check_nothing_lost(directory)
    return directory


def open_directory(directory: Path, run_id: str | None, keep: bool, overwrite: bool) -> RunLock:
    """Make `directory` if it is not there, and lock it; unless the run is to `keep` what is there, it begins anew.

    Raises
    ------
    InputError
        As `choose_directory`, and if it cannot be written.
    """
    _check_usable(directory, run_id)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = RunLock(directory, run_id or uuid.uuid4().hex)
    except OSError as error:
        raise _cannot_be_written(directory, error) from None
    try:
        if not (keep or overwrite):
            _check_nothing_lost(directory)  # another run may have come and gone meanwhile
    except BaseException:
        lock.release()
        raise
    return lock


def _check_usable(directory: Path, run_id: str | None = None) -> None:
    checkpoints = directory / "checkpoints"
    if checkpoints.is_symlink():
        raise InputError(
            f"{checkpoints} is a link, to {checkpoints.readlink()}: a run writes into its own directory only; "
            "remove the link, or choose another --output"
        )
    try:
        if directory.exists() and not directory.is_dir():
            raise NotADirectoryError(0, "it is a file, not a directory")
        if checkpoints.exists() and not checkpoints.is_dir():
            raise NotADirectoryError(0, "checkpoints is a file, not a directory")
        for name in FILES:
            check_replaceable(directory / name)
        check_unlocked(directory, run_id)
    except OSError as error:
        raise _cannot_be_written(directory, error) from None


def _cannot_be_written(directory: Path, error: OSError) -> InputError:
    return InputError(f"--output {directory}: cannot be written ({error.strerror}); choose another")


def _check_nothing_lost(directory: Path) -> None:
    state = _state(directory)
    if state == "finished":
        raise InputError(
            f"--output {directory} holds a finished run: add --overwrite to replace it, --resume to train it for more "
            "--epochs, or choose another --output"
        )
    if state == "other":
        names = " and ".join(name for name in FILES if (directory / name).exists())
        raise InputError(
            f"--output {directory} holds {names} of something else than a run of nnmpi: choose another --output, or "
            "add --overwrite to replace it"
        )
    if state == "unfinished" and _has_checkpoints(directory):
        raise InputError(
            f"{directory / 'checkpoints'} holds the checkpoints of a run that was not finished: add --resume to go on "
            "with it, --overwrite to start again, or choose another --output"
        )


def default_directory(data: str) -> Path:
    """``runs/`` and the name of the data; more runs of the same data get a number behind it."""
    return Path(RUNS) / (Path(data.replace(":", "-")).stem or "data")


def _default(data: str, resume: bool, overwrite: bool) -> Path:
    base = default_directory(data)
    same_data: list[Path] = []
    for number in itertools.count(1):
        directory = base if number == 1 else base.with_name(f"{base.name}-{number}")
        state = _state(directory)
        if state == "free" and not _in_use(directory):
            break
        settings = _read(directory / "config.json").get("settings")
        if isinstance(settings, dict) and settings.get("data") == data and not _in_use(directory):
            if state == "unfinished" and not (resume or overwrite):
                return directory  # somebody's work: refused if it has checkpoints
            same_data.append(directory)
    if resume and same_data:
        return max(same_data, key=lambda d: (_state(d) == "unfinished", (d / "config.json").stat().st_mtime_ns))
    return same_data[0] if overwrite and same_data else directory


def _state(directory: Path) -> State:
    """What is in `directory`: nothing of a run, a run that is finished or not, or files of something else.

    A link is no file of a run: it will be replaced, not followed.
    """
    if _is_plain(directory / "config.json"):
        finished = _read(directory / "config.json").get("finished")
        return "finished" if finished is True else "unfinished" if finished is False else "other"
    if _is_plain(directory / "model.safetensors"):
        return "other"
    if _has_checkpoints(directory):
        return "unfinished"
    return "free" if directory.is_dir() or not directory.exists() else "other"


def _in_use(directory: Path) -> bool:
    try:
        check_unlocked(directory)
    except (InputError, OSError):
        return True
    return False


def _has_checkpoints(directory: Path) -> bool:
    return any(path.stem.isdigit() for path in (directory / "checkpoints").glob("*.json"))


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _read(config: Path) -> dict[str, Any]:
    """A ``config.json``; nothing of one that is none."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if _is_plain(config) and config.stat().st_size <= LARGEST:
            content = json.loads(config.read_bytes())
            return content if isinstance(content, dict) else {}
    return {}
