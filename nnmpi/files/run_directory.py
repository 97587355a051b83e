"""Choose the directory of a run, so that it overwrites neither another run nor other files."""

import contextlib
import itertools
import json
import uuid
from pathlib import Path
from typing import Any, Literal

from nnmpi.errors import InputError
from nnmpi.files.atomic import check_directory, check_replaceable, remove_file
from nnmpi.files.checkpoint import remove_all
from nnmpi.files.run_lock import RunLock, check_unlocked

State = Literal["free", "finished", "unfinished", "other"]
LARGEST = 1 << 24  # bytes of a config.json
RUNS = "runs"
FILES = ("config.json", "metrics.jsonl", "model.safetensors")


def choose_directory(output: str | None, data: str, resume: bool, overwrite: bool) -> Path:
    """Return the directory for a run, without writing anything.

    This is `output`. By default it is ``runs/`` and the name of the data, with ``-2``, ``-3``, … if that directory
    holds a finished run, a run in progress, or a run on other data. With `resume` it is the directory of the newest
    unfinished run on the same data, with `overwrite` the first one on the same data.

    Raises
    ------
    InputError
        If the directory cannot be used, is in use, or holds a run that would be overwritten.
    """
    directory = Path(output) if output else _default(data, resume, overwrite)
    _check_usable(directory)
    if not (resume or overwrite):
        _check_overwrites_nothing(directory)
    return directory


def open_directory(directory: Path, run_id: str | None, keep: bool, overwrite: bool) -> RunLock:
    """Create `directory` if it does not exist, and lock it.

    A run that may neither `keep` nor `overwrite` files of another run is refused if there are any.

    Raises
    ------
    InputError
        As in `choose_directory`, and if the directory cannot be written.
    """
    _check_usable(directory, run_id)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = RunLock(directory, run_id or uuid.uuid4().hex)
    except OSError as error:
        raise _cannot_be_written(directory, error) from None
    try:
        if not (keep or overwrite):
            _check_overwrites_nothing(directory)  # another run may have used it since it was chosen
    except BaseException:
        lock.release()
        raise
    return lock


def remove_results(directory: Path) -> None:
    """Remove the files of an earlier run that a new one may not replace: checkpoints, report and TensorBoard events."""
    is_run = _state(directory) in ("finished", "unfinished")
    remove_all(directory / "checkpoints")
    tensorboard = directory / "tensorboard"
    events = [] if tensorboard.is_symlink() else tensorboard.glob("events.out.tfevents.*")
    for path in (directory / "report.html", *events):
        if is_run:  # else it belongs to another program
            remove_file(path)


def _check_usable(directory: Path, run_id: str | None = None) -> None:
    checkpoints = directory / "checkpoints"
    if checkpoints.is_symlink():
        raise InputError(
            f"{checkpoints} is a link, to {checkpoints.readlink()}, but a run only writes to its own directory: "
            "remove the link, or choose another --output"
        )
    try:
        check_directory(checkpoints)
        for name in FILES:
            check_replaceable(directory / name)
        check_unlocked(directory, run_id)
    except OSError as error:
        raise _cannot_be_written(directory, error) from None


def _cannot_be_written(directory: Path, error: OSError) -> InputError:
    return InputError(f"--output {directory}: cannot be written ({error.strerror}); choose another")


def _check_overwrites_nothing(directory: Path) -> None:
    state = _state(directory)
    if state == "finished":
        raise InputError(
            f"--output {directory} holds a finished run: add --overwrite to replace it, --resume to train it for more "
            "--epochs, or choose another --output"
        )
    if state == "other":
        names = " and ".join(name for name in FILES if (directory / name).exists())
        raise InputError(
            f"--output {directory} holds {names}, but not from a run of nnmpi: choose another --output, or add "
            "--overwrite to replace it"
        )
    if state == "unfinished" and _has_checkpoints(directory):
        raise InputError(
            f"{directory / 'checkpoints'} holds the checkpoints of an unfinished run: add --resume to continue it, "
            "--overwrite to start again, or choose another --output"
        )


def default_directory(data: str) -> Path:
    """Return ``runs/`` and the name of the data, the default for the first run on these data."""
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
                return directory  # refused later if it has checkpoints
            same_data.append(directory)
    if resume and same_data:
        return max(same_data, key=lambda d: (_state(d) == "unfinished", (d / "config.json").stat().st_mtime_ns))
    return same_data[0] if overwrite and same_data else directory


def _state(directory: Path) -> State:
    """Return what `directory` holds: no files of a run, a finished or unfinished run, or files of another program.

    Links do not count as files of a run: they are replaced, not followed.
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
    """Return the content of a ``config.json``; {} if it is not valid."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if _is_plain(config) and config.stat().st_size <= LARGEST:
            content = json.loads(config.read_bytes())
            return content if isinstance(content, dict) else {}
    return {}
