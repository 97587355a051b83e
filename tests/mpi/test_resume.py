"""A run that is interrupted and resumed on other numbers of ranks ends like an uninterrupted run."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from jobs import CommandServer, Done, Environment, Job, Run, needed, program_path, read_metrics, run, wait_for_an_epoch

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

DISTURBED = program_path("train_with_fault.py")
STEPS = 45  # steps in an epoch of digits
TRAIN = ("train", "--epochs", "12", "--dropout", "0.1", "--l2", "1e-4", "--output", "run")
SIGNALS = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 138}


def disturbed(mpi: Environment, ranks: int, fault: int | str, update: int, rank: int, *train: str, cwd: Path) -> Done:
    job = [mpi.program("python"), DISTURBED, str(fault), str(update), str(rank), *train]
    return run(mpi.mpiexec(ranks, *job), cwd)


def interrupted_run(mpi: Environment, directory: Path, *flags: str) -> Run:
    """Run on 2 ranks until a kill in epoch 6, on 3 ranks until a SIGTERM in epoch 9, on 5 ranks until the end."""
    train = (*TRAIN, *flags, "--resume", "--checkpoint-every", "5steps")
    done = disturbed(mpi, 2, int(signal.SIGKILL), 5 * STEPS + 17, 0, *train, cwd=directory)
    assert done.status != 0
    done = disturbed(mpi, 3, int(signal.SIGTERM), 8 * STEPS + 20, 1, *train, cwd=directory)
    assert done.status == 143
    assert "stopped by SIGTERM in epoch 9 after step 22" in done.messages[-1]
    return Run(run(mpi.nnmpi(5, *train), directory).succeeded(), directory / "run")


def uninterrupted_run(mpi: Environment, directory: Path, *flags: str) -> Run:
    directory.mkdir()
    done = run(mpi.nnmpi(4, *TRAIN, *flags, "--checkpoint-every", "never"), directory)
    return Run(done.succeeded(), directory / "run")


@pytest.mark.in_turn
def test_deterministic_run_ends_with_the_same_bits(mpi: Environment, tmp_path: Path) -> None:
    uninterrupted = uninterrupted_run(mpi, tmp_path / "uninterrupted", "--deterministic")
    resumed = interrupted_run(mpi, tmp_path, "--deterministic")
    model = "model.safetensors"
    assert (resumed.directory / model).read_bytes() == (uninterrupted.directory / model).read_bytes()
    changing_keys = ("seconds", "samples_per_second", "world_size")
    for before, after in zip(uninterrupted.metrics, resumed.metrics, strict=True):
        assert {k: v for k, v in before.items() if k not in changing_keys} == {
            k: v for k, v in after.items() if k not in changing_keys
        }
    assert [m["world_size"] for m in resumed.metrics] == 5 * [2] + 3 * [3] + 4 * [5]


@pytest.mark.more("the deterministic run takes the same path, and its check is stricter")
def test_native_run_ends_at_the_same_place(tmp_path: Path) -> None:
    mpi = needed("openmpi")
    uninterrupted, resumed = uninterrupted_run(mpi, tmp_path / "uninterrupted"), interrupted_run(mpi, tmp_path)
    difference = np.abs(resumed.parameters - uninterrupted.parameters).max()
    assert difference <= 1e-5 * np.abs(uninterrupted.parameters).max()


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.in_turn
def test_a_signal_to_one_rank_stops_all_after_a_checkpoint(mpi: Environment, name: str, tmp_path: Path) -> None:
    number = int(getattr(signal, name))
    done = disturbed(mpi, 2, number, 10, 1, *TRAIN, cwd=tmp_path)
    assert done.status == SIGNALS[name]
    assert done.messages == [f"nnmpi: stopped by {name} in epoch 1 after step 12; add --resume to go on"]
    resumed = run(mpi.nnmpi(1, *TRAIN, "--resume"), tmp_path).succeeded()
    assert "starting from the beginning" not in resumed.err


def test_usr1_to_the_launcher_reaches_the_ranks(mpi: Environment, tmp_path: Path) -> None:
    with Job(mpi.nnmpi(2, "train", "--epochs", "100000", "--output", "run"), tmp_path) as job:
        wait_for_an_epoch(job, tmp_path / "run")
        job.process.send_signal(signal.SIGUSR1)
        done = job.wait()
    assert done.status == 138
    assert list((tmp_path / "run/checkpoints").glob("*.json"))


def test_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    """Open MPI's launcher does not pass an interrupt on, so this is one rank without a launcher."""
    command = [needed("openmpi").program("python"), DISTURBED, "sleep", str(STEPS + 3), "0", *TRAIN]
    with Job(command, tmp_path) as job:
        wait_for_an_epoch(job, tmp_path / "run")
        time.sleep(0.5)
        job.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert job.process.poll() is None  # the rank would finish its step first
        job.process.send_signal(signal.SIGINT)
        assert job.wait(30).status == -signal.SIGINT  # the step would sleep for a minute


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.in_turn
def test_flipped_bit_is_found_at_the_end_of_the_epoch(mpi: Environment, ranks: int, tmp_path: Path) -> None:
    done = disturbed(mpi, ranks, "flip", 50, 1, *TRAIN, cwd=tmp_path)
    assert done.status == 1
    (message,) = done.messages
    assert "replicas are no longer equal" in message
    assert "rank 1 in layers.2" in message
    assert ("rank 0" in message) == (ranks == 2)  # with two ranks, either may be wrong
    assert len(read_metrics(tmp_path / "run")) == 1


def test_without_the_check_a_flipped_bit_is_not_found(tmp_path: Path) -> None:
    done = disturbed(needed("openmpi"), 2, "flip", 50, 1, *TRAIN, "--no-verify-replicas", cwd=tmp_path)
    assert done.status == 0


def test_resuming_on_more_ranks_than_shards_is_refused(tmp_path: Path) -> None:
    mpi = needed("openmpi")
    train = ("train", "--data", "iris", "--shards", "2", "--epochs", "1", "--output", "run")
    run(mpi.nnmpi(1, *train), tmp_path).succeeded()
    done = run(mpi.nnmpi(3, *train, "--resume", "--epochs", "2"), tmp_path)
    assert done.status == 2
    assert "3 ranks for --shards 2" in done.messages[0]


def test_with_damaged_checkpoints_alone_a_run_starts_anew_and_leaves_them(nnmpi: CommandServer, tmp_path: Path) -> None:
    train = ("train", "--data", "iris", "--epochs", "3", "--output", "run")
    first = nnmpi(*train, cwd=tmp_path).succeeded()
    (checkpoint,) = (tmp_path / "run/checkpoints").glob("*.json")
    damaged = checkpoint.rename(checkpoint.with_name("000000000999.json"))
    done = nnmpi(*train, "--resume", cwd=tmp_path).succeeded()
    assert "damaged checkpoint skipped: 000000000999" in done.err
    assert "starting from the beginning" in done.err
    assert damaged.exists()
    assert done.out.splitlines()[-1] == first.out.splitlines()[-1]


def test_damaged_checkpoint_is_named_skipped_and_left(nnmpi: CommandServer, tmp_path: Path) -> None:
    checkpoints = ("--checkpoint-every", "1epochs", "--keep", "4")  # all are kept; a slow disk may skip some
    train = ("train", "--data", "iris", "--epochs", "4", *checkpoints, "--output", "run")
    nnmpi(*train, cwd=tmp_path).succeeded()
    *_, older, newest = sorted((tmp_path / "run/checkpoints").glob("*.safetensors"))
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    newest.write_bytes(damaged)
    done = nnmpi(*train, "--resume", cwd=tmp_path).succeeded()
    assert f"damaged checkpoint skipped: {newest.stem}: the checksum of the safetensors file is wrong" in done.err
    assert "starting from the beginning" not in done.err
    assert older.exists()


BIG = ("train", "--hidden", "500,300", "--epochs", "4", "--output", "run")  # a model of 750 kB, checkpoints of 1.5 MB


def test_full_disk_is_told_in_a_line_and_the_checkpoints_before_it_are_kept(tmp_path: Path) -> None:
    mpi = needed("openmpi")
    train = (*BIG, "--checkpoint-every", "20steps", "--resume")
    done = disturbed(mpi, 2, "full", 70, 0, *train, cwd=tmp_path)
    assert done.status == 1
    (message,) = [m for m in done.messages if "no checkpoint" not in m]
    assert "a checkpoint could not be written to run/checkpoints (File too large)" in message
    assert "Traceback" not in done.err
    assert sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir()) == [
        f"{update:012d}.{suffix}" for update in (40, 60) for suffix in ("json", "safetensors")
    ]
    assert "no checkpoint" not in run(mpi.nnmpi(2, *train), tmp_path).succeeded().err


def test_model_that_can_no_longer_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    huge = ("train", "--hidden", "1000,400", "--epochs", "2", "--output", "run", "--checkpoint-every", "never")
    done = disturbed(needed("openmpi"), 2, "full", 10, 0, *huge, cwd=tmp_path)
    assert done.status == 1
    (message,) = done.messages
    assert "run can no longer be written (File too large)" in message
    assert "Traceback" not in done.err
