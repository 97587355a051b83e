"""Fixtures for the tests that start nnmpi in processes of its own."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from jobs import CommandServer, Environment, Run, needed
from jobs import run as start


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-runs", type=int, default=4, help="how many random disturbances test_chaos tries")
    parser.addoption("--slow", action="store_true", help="run the tests that are marked more, too")
    parser.addoption("--fuzz-examples", type=int, default=0, help="new random inputs of each test in test_fuzz_*.py")


def pytest_configure(config: pytest.Config) -> None:
    """The signals, and the Hypothesis profiles of all tests, none of which depends on a clock, and of the fuzzers.

    What nohup or a shell's ``&`` made us ignore, the programs that tests start would ignore, too; what is caught, they
    do not. In CI there are few random inputs, always the same ones, with --fuzz-examples many, and new ones.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)
    settings.register_profile("no deadline", deadline=None)
    settings.load_profile("no deadline")
    many = config.getoption("--fuzz-examples")
    settings.register_profile(
        "fuzz",
        max_examples=many or 60,
        derandomize=not many,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


# what the quick subset leaves out as a whole: each of these starts many processes, or runs other projects' tests
SLOW_FOLDERS = ("reports",)
SLOW_FILES = (
    *("test_compare", "test_estimator_checks", "test_estimators_on_ranks", "test_live_display", "test_loggers"),
    *("test_pages", "test_report"),
    *("test_report_numbers", "test_scikit_learns_tests", "test_surprising_files", "test_table_commands"),
)


def not_their_turn(items: list[pytest.Item]) -> list[pytest.Item]:
    """The cases of tests marked in_turn that are with the other MPI."""
    left_out: list[pytest.Item] = []
    seen: dict[str, dict[str, int]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("in_turn"):
            mpi = item.callspec.params["mpi"]
            cases = seen.setdefault(f"{item.path}::{item.originalname}", {})
            case = cases.setdefault(item.callspec.id.replace(mpi, ""), len(cases))
            if mpi != ("openmpi", "mpich")[case % 2]:
                left_out.append(item)
    return left_out


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        left_out = [item for item in items if item.get_closest_marker("more")] + not_their_turn(items)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if item.path.parent.name in SLOW_FOLDERS or item.path.stem in SLOW_FILES:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)  # there may be no pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile`` the tests of a file stay on one worker, and so do all tests with hosts of their own.

    xdist's own groups (``--dist loadgroup``) do nothing with pytest 9.2.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/cluster" if nodeid.startswith("tests/cluster/") else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--fuzz-examples"):
        from fuzzing import worst

        terminalreporter.write_line(f"the hungriest input took {worst['bytes'] / 1e6:.1f} MB")


@pytest.fixture(scope="session")
def nnmpi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    """``nnmpi(*arguments)``: the command line at one rank."""
    server = CommandServer(tmp_path_factory.mktemp("commands"))
    yield server
    server.close()


@pytest.fixture(params=["openmpi", pytest.param("mpich", marks=pytest.mark.slow)])
def mpi(request: pytest.FixtureRequest) -> Environment:
    """An environment with an MPI; the test runs once with each."""
    return needed(request.param)


@pytest.fixture(scope="session")
def train(nnmpi: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """``train(*flags, mpi=…, ranks=…)``: a run of ``nnmpi train`` that succeeded; the same run is made only once."""
    runs: dict[tuple[object, ...], Run] = {}

    def train(*flags: str, mpi: str | None = None, ranks: int = 1) -> Run:
        key = (flags, mpi, ranks)
        if key not in runs:
            directory: Path = tmp_path_factory.mktemp("run") / "output"
            arguments = ("train", *flags, "--output", str(directory))
            done = start(needed(mpi).nnmpi(ranks, *arguments), directory.parent) if mpi else nnmpi(*arguments)
            runs[key] = Run(done.succeeded(), directory)
        return runs[key]

    return train
