"""``nnmpi slurm``: what it refuses, the lines of the script, and the script run by bash with stand-ins for Slurm."""

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from jobs import CommandServer

from nnmpi.errors import InputError
from nnmpi.launching.slurm import SlurmJob, first_index, parse_time, quoted, script, time_limit

JOB = SlurmJob("name", 2, 4, 1, 7200, 60, "", "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200),
        ("90m", 5400),
        ("1d12h", 129600),
        ("1h30m15s", 5415),
        ("300s", 300),
        ("02:00:00", 7200),
        ("100:00:00", 360000),
        ("1-12:00:00", 129600),
    ],
)
def test_times_are_read(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds
    assert parse_time(time_limit(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "2", "2x", "-2h", "2 h", "1.5h", "2:00", "2:0:0", "1-2", "h", "2h\n", "9999999h"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text) + "$"):
        parse_time(text)


@pytest.mark.parametrize(("seconds", "text"), [(90, "00:01:30"), (129600, "1-12:00:00"), (863999, "9-23:59:59")])
def test_a_limit_is_written_as_slurm_reads_it(seconds: int, text: str) -> None:
    assert time_limit(seconds) == text


@pytest.mark.parametrize(("array", "first"), [("3", "3"), ("3-7:2%4", "3"), ("5,1,2", "5")])
def test_the_first_index_of_an_array(array: str, first: str) -> None:
    assert first_index(array) == first


@pytest.mark.parametrize("array", ["", "5-7"])
def test_words_are_quoted_for_bash_and_in_an_array_get_the_index(array: str) -> None:
    words = ["a b", "it's", "$HOME", "", "`id`", 'run-%a "x".csv', "%a", "\\", "*"]
    shown = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {quoted(*words, array=array)}"],
        env={"SLURM_ARRAY_TASK_ID": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines() == [word.replace("%a", "7") if array else word for word in words]


REFUSED = {
    "name with a line end": ({"name": "a\n#SBATCH --uid=0"}, "--job-name is"),
    "name with a space": ({"name": "a b"}, "--job-name is 'a b'; allowed are letters, digits"),
    "partition with a quote": ({"partition": "gpu'"}, "--partition is"),
    "array with a command": ({"array": "1-5;id"}, "--array is"),
    "array without indices": ({"array": "abc"}, "--array is 'abc'; allowed are indices such as 1-5"),
    "array in Python": ({"array": "range(5)"}, "--array is"),
    "array with two limits": ({"array": "1-5%2%3"}, "--array is"),
    "array without an end": ({"array": "1-"}, "--array is"),
    "letters of other alphabets": ({"name": "\u0142"}, "--job-name is"),
    "grace that takes half of the time": ({"seconds": 120}, "--time is 120 s and --grace 60 s"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_slurm_would_misread_is_refused(case: str) -> None:
    changes, words = REFUSED[case]
    with pytest.raises(InputError) as refused:
        replace(JOB, **changes)  # type: ignore[arg-type]
    assert words in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_the_options_are_those_asked_for() -> None:
    job = replace(JOB, partition="long", array="1-5%2", cpus_per_task=3)
    assert job.options().splitlines() == [
        "#SBATCH --job-name=name",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --time=02:00:00",
        "#SBATCH --partition=long",
        "#SBATCH --array=1-5%2",
        "#SBATCH --output=%x-%A_%a.out",
    ]
    assert "--time" not in replace(JOB, seconds=None).options()


def test_modules_are_loaded_where_there_are_some() -> None:
    words = ("nnmpi launch", "train", "run")
    assert "\nmodule load gcc/13 openmpi/5\n" in script(JOB, *words, modules="gcc/13 openmpi/5")
    assert "module" not in script(JOB, *words, modules="").replace("modules", "")


# a stand-in for `nnmpi launch`: depending on MODE it finishes, fails, or waits for USR1 and may write a checkpoint
LAUNCH = """#!/bin/bash
printf '%s ' "$@" > arguments
[[ $MODE != finish ]] || exit 0
[[ $MODE != fail ]] || exit 1
trap '[[ $MODE != wait ]] || { mkdir -p run/checkpoints; touch run/checkpoints/2; }; exit 138' USR1
touch waiting
while :; do read -rt 0.05 <> <(:); done
"""


class Played:
    """The script of a job, run by bash. Stand-ins for `scontrol` and `sleep` record their calls."""

    def __init__(self, directory: Path, mode: str, preempted: str = "None") -> None:
        self.directory = directory
        programs = {
            "launch": LAUNCH,
            "scontrol": '#!/bin/sh\n[ "$1" = show ] && echo "PreemptTime=$PREEMPTED" || echo scontrol $* >> calls\n',
            "sleep": "#!/bin/sh\necho sleep $* >> calls\n",
        }
        for name, text in programs.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        (directory / "calls").touch()
        (directory / "job").write_text(script(JOB, "./launch", "train --epochs 3", "run", ""))
        settings = {"SLURM_NTASKS": "8", "SLURM_JOB_ID": "7", "MODE": mode, "PREEMPTED": preempted}
        self.process = subprocess.Popen(
            ["bash", "job"],
            cwd=directory,
            env={"PATH": f"{directory}:{os.environ['PATH']}", **settings},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> "Played":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def signalled(self, number: signal.Signals) -> str:
        """Once the script and its training catch a signal, send it to the script only. Return the standard error."""
        end = time.monotonic() + 120
        while not ((self.directory / "waiting").exists() and self._catches(number)):
            assert time.monotonic() < end
            time.sleep(0.02)
        self.process.send_signal(number)
        return self.end()

    def end(self) -> str:
        return self.process.communicate(timeout=30)[1]

    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text().splitlines()

    def _catches(self, number: int) -> bool:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        return bool(caught >> (number - 1) & 1)


def test_the_script_ends_with_the_training(tmp_path: Path) -> None:
    with Played(tmp_path, "finish") as played:
        assert played.end() == ""
        assert (played.process.returncode, played.calls()) == (0, [])
        assert (tmp_path / "arguments").read_text() == "-n 8 -- train --epochs 3 --output run "


@pytest.mark.parametrize("older", [False, True])
def test_before_the_time_limit_the_job_is_queued_again(older: bool, tmp_path: Path) -> None:
    if older:
        (tmp_path / "run/checkpoints").mkdir(parents=True)
        (tmp_path / "run/checkpoints/1").touch()
    with Played(tmp_path, "wait") as played:
        assert played.signalled(signal.SIGUSR1) == ""
        assert (played.process.returncode, played.calls()) == (138, ["scontrol requeue 7", "sleep 60"])


@pytest.mark.parametrize("older", [False, True])
def test_without_a_new_checkpoint_it_is_not(older: bool, tmp_path: Path) -> None:
    if older:
        (tmp_path / "run/checkpoints").mkdir(parents=True)
        (tmp_path / "run/checkpoints/1").touch()
    with Played(tmp_path, "wait without a checkpoint") as played:
        assert "no checkpoint was written before the time limit, so the job is not queued again" in played.signalled(
            signal.SIGUSR1
        )
        assert (played.process.returncode, played.calls()) == (138, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_ends_with_a_checkpoint(number: signal.Signals, tmp_path: Path) -> None:
    with Played(tmp_path, "wait") as played:
        assert played.signalled(number) == ""
        assert (played.process.returncode, played.calls()) == (138, [])
        assert (tmp_path / "run/checkpoints/2").exists()


@pytest.mark.parametrize("mode", ["wait", "fail"])
def test_a_preempted_job_waits_for_slurm_to_queue_it_again(mode: str, tmp_path: Path) -> None:
    """Slurm ends the ranks, and may or may not send a signal to this script."""
    with Played(tmp_path, mode, preempted="2026-11-27T21:00:00") as played:
        assert (played.signalled(signal.SIGTERM) if mode == "wait" else played.end()) == ""
        assert (played.process.returncode, played.calls()) == (138 if mode == "wait" else 1, ["sleep 600"])


def test_a_job_that_fails_is_not_queued_again(tmp_path: Path) -> None:
    with Played(tmp_path, "fail") as played:
        assert played.end() == ""
        assert (played.process.returncode, played.calls()) == (1, [])


COMMANDS = {
    "what is added": (
        ("--nodes", "2", "--time", "2h", "--", "train", "--data", "iris"),
        (
            'launch -n "$SLURM_NTASKS" -- train --data iris --resume --threads "$SLURM_CPUS_PER_TASK" --output',
            'output=runs/iris-"$SLURM_JOB_ID"',
        ),
    ),
    "what is there already": (
        ("--nodes", "2", "--", "train", "--resume", "--threads", "2", "--output", "a b"),
        ("-- train --resume --threads 2 --output", "output='a b'\n"),
    ),
    "bits, which depend on threads": (
        ("--nodes", "2", "--", "train", "--deterministic", "--output=x"),
        ('-- train --deterministic --resume --output "$output" &', "output=x\n"),
    ),
    "an array": (
        ("--nodes", "1", "--array", "1-3", "--", "train", "--seed", "%a", "--output", "seeds"),
        ('train --seed "$SLURM_ARRAY_TASK_ID" --resume', 'output=seeds/"$SLURM_ARRAY_TASK_ID"'),
    ),
    "an array whose directories have the index": (
        ("--nodes", "1", "--array", "1-3", "--", "train", "--seed", "%a", "--output=seed-%a"),
        ('train --seed "$SLURM_ARRAY_TASK_ID" --resume', 'output=seed-"$SLURM_ARRAY_TASK_ID"\n'),
    ),
    "a column that looks like an index": (
        ("--nodes", "1", "--", "train", "wine.csv", "--target", "%alcohol", "--output", "%ab"),
        ("train wine.csv --target %alcohol --resume", "output=%ab\n"),
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_the_command_writes_a_script(case: str, nnmpi: CommandServer) -> None:
    words, parts = COMMANDS[case]
    done = nnmpi("slurm", *words).succeeded()
    assert done.err == ""
    subprocess.run(["bash", "-n"], input=done.out, text=True, check=True)
    for part in parts:
        assert part in done.out


BAD = {
    "a command that is not train": (("--nodes", "1", "--", "info"), "slurm info: a job script can only run train"),
    "bad settings": (("--nodes", "1", "--", "train", "--epochs", "-1"), "--epochs"),
    "another MPI": (("--nodes", "1", "--mpi", "intelmpi", "--", "train"), "--mpi intelmpi: the launcher at hand is"),
    "no time": (("--nodes", "1", "--time", "soon", "--", "train"), "--time"),
    "an index without an array": (("--nodes", "1", "--", "train", "--seed", "%a"), "--seed"),
    "no nodes": (("--nodes", "0", "--", "train"), "--nodes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_refused_in_one_line(case: str, nnmpi: CommandServer) -> None:
    words, text = BAD[case]
    done = nnmpi("slurm", *words)
    assert (done.status, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert text in line
