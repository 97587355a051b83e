"""When a training is restarted and when not. A shell script stands in for the launcher."""

import json
import signal
from pathlib import Path

import pytest

from nnmpi.launching import restarts as module
from nnmpi.launching.find_mpiexec import Launcher
from nnmpi.launching.forward_signals import SignalForwarder
from nnmpi.launching.hostfile import Host
from nnmpi.launching.mpiexec_command import Job
from nnmpi.launching.restarts import once, supervise

MPI = {"Open MPI": "5.0.11", "MPICH": "5.0.2"}
BEGIN = """echo '{"finished": false}' > new; mv new run/config.json"""
FINISH = """echo '{"finished": true}' > new; mv new run/config.json"""


def epoch(number: int) -> str:
    """Return a shell command that logs the end of an epoch of 10 steps."""
    return f"""echo '{{"epoch": {number}, "step": {10 * number}}}' >> run/metrics.jsonl"""


class Play:
    """A launcher that runs the shell code `attempts[0]` in its first attempt, and so on; `dead` hosts do not answer."""

    def __init__(self, directory: Path, dead: str = "none") -> None:
        self.directory, self.dead = directory, dead
        (directory / "run").mkdir()
        self.pauses: list[float] = []

    def __call__(
        self, *attempts: str, restarts: int = 3, mpi: str = "Open MPI", hosts: str = "", ulfm: bool = False
    ) -> int:
        text = f"""#!/bin/sh
        cd {self.directory}
        for word; do [ "$last" = --hostfile ] && hosts=$(cat "$word"); last=$word; done
        case "$*" in *" -c pass") case "$hosts" in *{self.dead}*) exit 1;; esac; exit 0;; esac
        echo "$*" >> calls
        echo $hosts >> hosts
        . ./attempt$(wc -l < calls)
        """
        path = self.directory / "mpiexec"
        path.write_text(text)
        path.chmod(0o755)
        for number, attempt in enumerate(attempts, 1):
            (self.directory / f"attempt{number}").write_text(attempt)
        lines = [Host(name, 2, f"{name} slots=2") for name in hosts.split()]
        file = self.directory / "hostfile" if hosts else None
        if file:
            file.write_text("".join(f"{host.line}\n" for host in lines))
        job = Job(6, ("train",), file)
        return supervise(Launcher(str(path), mpi, MPI[mpi], ulfm), job, lines, restarts, self.directory / "run")

    @property
    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text().splitlines()


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    player = Play(tmp_path)

    def sleep(self: SignalForwarder, seconds: float) -> None:
        player.pauses.append(seconds)

    monkeypatch.setattr(SignalForwarder, "sleep", sleep)
    return player


def test_what_finished_is_done(play: Play) -> None:
    assert play(f"{BEGIN}; {FINISH}; exit 0") == 0
    assert len(play.calls) == 1


def test_what_finished_is_done_whatever_the_launcher_says(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(f"{FINISH}; exit 7") == 0
    assert "ignore the exit status 7 of the launcher" in capsys.readouterr().err


def test_status_0_does_not_prove_that_it_finished(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(f"{BEGIN}; {epoch(1)}; exit 0", f"{BEGIN}; {FINISH}") == 0
    assert len(play.calls) == 2
    assert "failed in epoch 2 after step 0 or later" in capsys.readouterr().err


def test_files_of_an_earlier_run_do_not_count(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    (play.directory / "run/config.json").write_text('{"finished": true}')
    assert play("exit 0", restarts=0) == 1
    assert "wrote nothing to" in capsys.readouterr().err


@pytest.mark.parametrize("mpi", MPI)
@pytest.mark.parametrize("status", [2, 130, 138, 143])
def test_bad_input_and_stops_are_not_restarted(play: Play, status: int, mpi: str) -> None:
    assert play(f"{BEGIN}; exit {status}", mpi=mpi) == status
    assert len(play.calls) == 1


def test_a_restart_resumes_only_what_has_begun(play: Play) -> None:
    """Earlier files in the directory may belong to a finished run."""
    assert play("exit 1", f"{BEGIN}; exit 1", f"{BEGIN}; {epoch(1)}; exit 1", f"{FINISH}") == 0
    assert [call.endswith("--resume") for call in play.calls] == [False, False, True, True]
    assert play.calls[-1].count("--resume") == 1


CRASHED = "MPI may have crashed while it started: starting again"


def test_with_the_heartbeat_a_job_that_did_not_start_is_started_again_once(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the heartbeat, Open MPI may crash in MPI_Init. Starting again uses up no restart."""
    assert play("exit 1", f"{BEGIN}; {FINISH}", restarts=0, hosts="a b", ulfm=True) == 0
    assert len(play.calls) == 2
    assert CRASHED in capsys.readouterr().err


@pytest.mark.parametrize(
    ("attempt", "calls", "settings"),
    [
        ("exit 1", 2, {}),
        ("exit 0", 1, {}),  # rank 0 may have written to another directory
        ("exit 2", 1, {}),
        (f"{BEGIN}; exit 1", 1, {}),
        ("exit 1", 1, {"hosts": "a"}),
        ("exit 1", 1, {"ulfm": False}),
        ("exit 1", 1, {"mpi": "MPICH"}),
    ],
)
def test_other_failures_are_not_started_again(
    play: Play, attempt: str, calls: int, settings: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"hosts": "a b", "ulfm": True, "restarts": 0, **settings}
    assert play(attempt, attempt, attempt, **arguments) != 0  # type: ignore[arg-type]
    assert len(play.calls) == calls
    assert (CRASHED in capsys.readouterr().err) == (calls == 2)


def test_pauses_grow(play: Play) -> None:
    attempts = [f"{BEGIN}; {epoch(n)}; exit 1" for n in (1, 2, 3, 4)]
    assert play(*attempts, restarts=3) == 1
    assert play.pauses == [1, 2, 4]


@pytest.mark.parametrize("attempt", [f"{BEGIN}; exit 1", f"{BEGIN}; exit 139", f"{BEGIN}; exit 0", "exit 1"])
def test_a_crash_at_the_same_place_ends_it(play: Play, attempt: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = f"{attempt.replace('; exit', f'; {epoch(1)}; exit')}"
    assert play(first, attempt, attempt, attempt) in (1, 139)
    assert len(play.calls) == 2
    assert "second failure at the same place, so it is not restarted again" in capsys.readouterr().err.splitlines()[-1]


def test_crashes_at_other_places_use_up_the_restarts(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(*(f"{BEGIN}; {epoch(n)}; exit 1" for n in (1, 2, 3)), restarts=2) == 1
    assert len(play.calls) == 3
    assert "all --restarts 2 are used up" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("mpi", "status"), [("Open MPI", 137), ("MPICH", 9)])
def test_a_killed_process_has_no_place(play: Play, mpi: str, status: int) -> None:
    assert play(*[f"{BEGIN}; exit {status}"] * 3, f"{FINISH}", mpi=mpi) == 0
    assert len(play.calls) == 4


def test_no_restart_unless_asked_for(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(f"{BEGIN}; exit 137", restarts=0) == 137
    assert len(play.calls) == 1
    assert "--resume" in capsys.readouterr().err


def test_hosts_that_do_not_answer_are_left_out(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play.dead = "b"
    assert play(f"{BEGIN}; exit 1", f"{BEGIN}; exit 1", f"{FINISH}", hosts="a b c") == 0
    ranks = [call.split()[call.split().index("-n") + 1] for call in play.calls]
    assert ranks == ["6", "4", "4"]  # a lost host caused the first failure, so the second does not repeat it
    hosts = (play.directory / "hosts").read_text().splitlines()
    assert hosts == ["a slots=2 b slots=2 c slots=2", *["a slots=2 c slots=2"] * 2]
    assert "no answer from b; restart 1 of 3" in capsys.readouterr().err


@pytest.mark.parametrize(("hosts", "lost"), [("a b", "no answer from b; "), ("a", ""), ("a c", "")])
def test_a_job_that_cannot_begin_is_told_where_to_look(
    play: Play, hosts: str, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    play.dead = "b"
    assert play("exit 255", restarts=0, hosts=hosts) == 255
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"(exit status of the launcher: 255); {lost}nnmpi launch … -- info looks for the cause")


def test_without_any_host_it_ends(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play.dead = "slots"
    assert play(f"{BEGIN}; exit 1", hosts="a b") == 1
    assert "no host answers" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["INT", "TERM", "USR1", "HUP"])
def test_a_signal_is_passed_on_and_ends_it(play: Play, number: str) -> None:
    """Every signal reaches the training as USR1. The training ends, as after a checkpoint, and is not restarted."""
    traps = "trap 'exit 138' USR1; trap 'touch ended; exit 1' TERM INT"
    script = f"{traps}; {BEGIN}; kill -{number} $PPID; while :; do sleep 0.1; done"
    expected = {"INT": 130, "TERM": 143, "USR1": 138, "HUP": 129}
    assert play(script) == expected[number]
    assert len(play.calls) == 1
    assert not (play.directory / "ended").exists()


def test_hangup_stays_ignored_where_nohup_ignored_it(play: Play) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert play(f"trap 'exit 138' USR1; {BEGIN}; kill -HUP $PPID; sleep 0.2; {FINISH}") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_status_counts_what_is_whole(tmp_path: Path) -> None:
    from nnmpi.files.run_status import read_status

    (tmp_path / "config.json").write_text("[not JSON")
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"epoch": 3, "step": 30}) + '\n{"epoch": 4, "st')
    run = read_status(tmp_path, None)
    assert (run.begun, run.finished, run.epoch, run.update) == (True, False, 3, 30)
    assert module.Failure(1, run).repeats(module.Failure(1, run))


def test_a_launcher_that_takes_too_long_is_ended(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mpiexec"
    path.write_text("#!/bin/sh\nexec sleep 600\n")
    path.chmod(0o755)
    assert once(Launcher(str(path), "MPICH", "5.0.2", False), Job(2, ("info",)), [], limit=0.3) == 1
    assert "did not end within 0 s" in capfd.readouterr().err
