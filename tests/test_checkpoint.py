"""A checkpoint is complete, or it does not exist."""

import errno
import json
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnmpi.errors import InputError, RunError
from nnmpi.files import checkpoint as module
from nnmpi.files.checkpoint import Checkpoint, Progress, Unfinished, newest, read
from nnmpi.files.checkpoint_writer import CheckpointWriter


def checkpoint(update: int, size: int = 50) -> Checkpoint:
    arrays = {"parameters": np.arange(size, dtype=np.float32) * update, "optimizer": np.full(size, update, np.float32)}
    progress = Progress(epoch=1, step=2, update=update, loss_sum=0.1 + update, samples=64, best_score=1 / 3)
    return Checkpoint(progress, arrays, {"settings": {"hidden": [3]}, "finished": False})


def write(directory: Path, checkpoint: Checkpoint) -> None:
    Unfinished(directory, checkpoint).finish()


def same(a: Checkpoint | None, b: Checkpoint) -> bool:
    assert a is not None
    return (a.progress, a.metadata) == (b.progress, b.metadata) and all(
        np.array_equal(a.arrays[name], b.arrays[name]) for name in {*a.arrays, *b.arrays}
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, checkpoint(7))
    assert same(read(tmp_path / "000000000007.json"), checkpoint(7))


def test_newest_of_none(tmp_path: Path) -> None:
    assert newest(tmp_path) == (None, [])
    assert newest(tmp_path / "missing") == (None, [])


def test_newest_goes_by_updates(tmp_path: Path) -> None:
    for update in (9, 10, 100):
        write(tmp_path, checkpoint(update))
    assert same(newest(tmp_path)[0], checkpoint(100))


def test_arrays_without_their_json_are_no_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, checkpoint(1))
    write(tmp_path, checkpoint(2))
    (tmp_path / "000000000002.json").unlink()
    assert same(newest(tmp_path)[0], checkpoint(1))


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("length", [0, 1, 7, 100, -1])
def test_truncated_file_is_named_skipped_and_left(suffix: str, length: int, tmp_path: Path) -> None:
    write(tmp_path, checkpoint(1))
    write(tmp_path, checkpoint(2))
    path = tmp_path / f"000000000002.{suffix}"
    path.write_bytes(path.read_bytes()[:length])
    truncated = path.read_bytes()
    newest_checkpoint, damaged = newest(tmp_path)
    assert same(newest_checkpoint, checkpoint(1))
    assert len(damaged) == 1
    assert "000000000002" in damaged[0]
    assert path.read_bytes() == truncated


@pytest.mark.slow
@given(suffix=st.sampled_from(["json", "safetensors"]), data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_is_noticed(suffix: str, data: st.DataObject, tmp_path: Path) -> None:
    write(tmp_path, checkpoint(2))
    path = tmp_path / f"000000000002.{suffix}"
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        damaged_checkpoint = read(path.with_suffix(".json"))
    except ValueError:
        return
    assert suffix == "json"  # only the white space around the checked text may change
    assert same(damaged_checkpoint, checkpoint(2))


def test_huge_declared_header_is_not_believed(tmp_path: Path) -> None:
    write(tmp_path, checkpoint(2))
    path = tmp_path / "000000000002.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(ValueError, match="checksum"):
        read(path.with_suffix(".json"))


def test_huge_json_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "000000000001.json"
    with open(path, "wb") as file:
        file.truncate(module.LARGEST_JSON + 1)  # sparse: takes no space
    with pytest.raises(ValueError, match="too large"):
        read(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 1, "content": 2}', "[" * 100_000, '"\ud800"'])
def test_foreign_json_is_damaged(text: str, tmp_path: Path) -> None:
    path = tmp_path / "000000000001.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ValueError, match=r"\w"):
        read(path)


def updates_in(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in directory.glob("*.json"))


def save_each(directory: Path, keep: int, updates: list[int], resumed_at: int | None = None) -> None:
    writer = CheckpointWriter(directory, keep, resumed_at)
    for update in updates:
        writer.save(checkpoint(update))
        writer.flush()
    writer.close()


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_newest_are_kept(keep: int, tmp_path: Path) -> None:
    save_each(tmp_path, keep, [1, 2, 3, 4])
    assert updates_in(tmp_path) == [1, 2, 3, 4][-keep:]
    assert len(list(tmp_path.iterdir())) == 2 * keep


def test_damaged_ones_neither_count_nor_go(tmp_path: Path) -> None:
    save_each(tmp_path, 2, [1, 2, 30])
    save_each(tmp_path, 2, [3, 4], resumed_at=2)  # as after a resume that found 30 damaged
    assert updates_in(tmp_path) == [3, 4, 30]


class Disk:
    """A slow disk: ``fsync`` waits for `may_finish`."""

    def __init__(self) -> None:
        self.started, self.may_finish = threading.Event(), threading.Event()

    def fsync(self, descriptor: int) -> None:
        self.started.set()
        assert self.may_finish.wait(60)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    yield disk
    disk.may_finish.set()


@pytest.fixture
def writer(tmp_path: Path, disk: Disk) -> Iterator[CheckpointWriter]:
    """A writer that is writing the checkpoint of update 1."""
    writer = CheckpointWriter(tmp_path, 9, None)
    writer.save(checkpoint(1))
    assert disk.started.wait(60)
    yield writer
    disk.may_finish.set()
    writer.close()


@pytest.mark.parametrize("size", [50, 1_000_000])
def test_arrays_may_change_when_training_goes_on(
    size: int, tmp_path: Path, disk: Disk, writer: CheckpointWriter
) -> None:
    saved = checkpoint(5, size)
    writer.save(saved)
    saved.arrays["parameters"][:] = -1
    saved.progress.update = 6
    disk.may_finish.set()
    writer.flush()
    assert same(newest(tmp_path)[0], checkpoint(5, size))


def test_no_copy_in_memory(writer: CheckpointWriter) -> None:
    saved = checkpoint(5, 4_000_000)
    tracemalloc.start()
    writer.save(saved)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # the arrays have 32 million bytes


def test_newest_waits_for_a_slow_disk_and_those_before_it_are_dropped(
    tmp_path: Path, disk: Disk, writer: CheckpointWriter
) -> None:
    for update in (2, 3, 4):
        writer.save(checkpoint(update))
    names = [".000000000001.safetensors.new", ".000000000004.safetensors.new"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == names
    disk.may_finish.set()
    writer.flush()
    assert updates_in(tmp_path) == [1, 4]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_second_checkpoint_of_one_update_waits_for_the_first(
    tmp_path: Path, disk: Disk, writer: CheckpointWriter
) -> None:
    second = checkpoint(1)
    second.metadata["finished"] = True
    threading.Timer(0.2, disk.may_finish.set).start()
    writer.save(second)
    assert disk.may_finish.is_set()
    writer.flush()
    assert same(newest(tmp_path)[0], second)


def test_one_that_cannot_be_written_does_not_cost_the_one_that_waits(
    tmp_path: Path, disk: Disk, writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.save(checkpoint(2))

    def fail(arrays: Any) -> Iterator[bytes]:
        yield b"a beginning"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "pieces", fail)
    writer.save(checkpoint(3))
    disk.may_finish.set()
    with pytest.raises(RunError, match="No space left on device"):
        writer.flush()
    assert updates_in(tmp_path) == [1, 2]
    assert len(list(tmp_path.iterdir())) == 4


def test_last_checkpoint_is_written_however_fast_they_come(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, 2, None)
    for update in range(1, 200):
        writer.save(checkpoint(update))
    writer.flush()
    writer.close()
    assert same(newest(tmp_path)[0], checkpoint(199))


def test_full_disk_leaves_the_good_ones_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CheckpointWriter(tmp_path, 1, None)
    writer.save(checkpoint(1))
    writer.flush()

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    writer.save(checkpoint(2))
    with pytest.raises(RunError, match="No space left on device"):
        writer.flush()
    writer.close()
    assert same(newest(tmp_path)[0], checkpoint(1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000000001.json", "000000000001.safetensors"]


def test_whatever_goes_wrong_in_the_thread_nobody_waits_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(unfinished: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Unfinished, "finish", fail)
    writer = CheckpointWriter(tmp_path, 1, None)
    error_raised = threading.Event()

    def flush() -> None:
        try:
            writer.flush()
        except MemoryError:
            error_raised.set()

    writer.save(checkpoint(1))
    threading.Thread(target=flush, daemon=True).start()
    assert error_raised.wait(60)
    writer.close()


def test_json_says_what_it_is(tmp_path: Path) -> None:
    write(tmp_path, checkpoint(3))
    content: dict[str, Any] = json.loads(json.loads((tmp_path / "000000000003.json").read_text())["content"])
    assert content["progress"]["update"] == 3
    assert content["about"]["settings"] == {"hidden": [3]}


def test_a_checkpoint_of_another_format_is_refused_not_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, checkpoint(1))
    monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
    with pytest.raises(InputError, match="another version of nnmpi"):
        newest(tmp_path)
