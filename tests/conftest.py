"""Options, hooks and fixtures of all tests."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from jobs import CommandServer, Environment, Run, needed
from jobs import run as start


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-runs", type=int, default=4, help="number of random disturbances in test_chaos")
    parser.addoption(
        "--slow", action="store_true", help="also run tests marked more; run those marked in_turn with both MPIs"
    )
    parser.addoption(
        "--fuzz-examples", type=int, default=0, help="number of new random inputs for each test in test_fuzz_*.py"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set signal handlers and the Hypothesis profiles: no test has a deadline; test_fuzz_*.py use the profile "fuzz".

    Programs that tests start inherit ignored signals (nohup and ``&`` ignore some), but not handlers. So ignored
    signals get a handler that does nothing. Without --fuzz-examples, a fuzz test tries 40 inputs, the same each time.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)
    settings.register_profile("no deadline", deadline=None)
    settings.load_profile("no deadline")
    examples = config.getoption("--fuzz-examples")
    settings.register_profile(
        "fuzz",
        max_examples=examples or 40,
        derandomize=not examples,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


# not in the quick subset: these folders and files start many processes or run other projects' tests
SLOW_FOLDERS = ("reports",)
SLOW_FILES = (
    *("test_compare", "test_estimator_checks", "test_estimators_on_ranks", "test_live_display", "test_loggers"),
    *("test_pages", "test_report"),
    *("test_report_numbers", "test_scikit_learns_tests", "test_surprising_files", "test_table_commands"),
)


def out_of_turn(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the cases marked in_turn that are left out because the cases of a test alternate between the MPIs."""
    deselected: list[pytest.Item] = []
    case_numbers: dict[str, dict[str, int]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("in_turn"):
            mpi = item.callspec.params["mpi"]
            cases = case_numbers.setdefault(f"{item.path}::{item.originalname}", {})
            case = cases.setdefault(item.callspec.id.replace(mpi, ""), len(cases))
            if mpi != ("openmpi", "mpich")[case % 2]:
                deselected.append(item)
    return deselected


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        deselected = [item for item in items if item.get_closest_marker("more")] + out_of_turn(items)
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]
    for item in items:
        if item.path.parent.name in SLOW_FOLDERS or item.path.stem in SLOW_FILES:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be missing
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run all tests in tests/cluster on one worker with ``--dist loadfile``, as the tests of one file.

    xdist's groups (``--dist loadgroup``) do nothing with pytest 9.2.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/cluster" if nodeid.startswith("tests/cluster/") else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--fuzz-examples"):
        from fuzzing import largest_peak

        terminalreporter.write_line(f"largest memory use of an input: {largest_peak['bytes'] / 1e6:.1f} MB")


@pytest.fixture(scope="session")
def nnmpi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    """``nnmpi(*arguments)`` runs the command line at one rank."""
    server = CommandServer(tmp_path_factory.mktemp("commands"))
    yield server
    server.close()


@pytest.fixture(params=["openmpi", pytest.param("mpich", marks=pytest.mark.slow)])
def mpi(request: pytest.FixtureRequest) -> Environment:
    """An environment with an MPI library; the test runs once with each library."""
    return needed(request.param)


@pytest.fixture(scope="session")
def train(nnmpi: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """``train(*flags, mpi=…, ranks=…)`` runs ``nnmpi train`` and returns the run; equal calls share one run."""
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
