"""The checks of `nnmpi info` on made-up facts: each finds its problem, and none finds one in healthy facts."""

from types import SimpleNamespace

import pytest
from illnesses import ILLNESSES
from made_up_facts import combined, healthy_facts, host, hosts, job, output, rank, ranks, world_of_one

from nnmpi.doctor import reduction_times
from nnmpi.doctor.checks import CHECKS, check
from nnmpi.doctor.page import as_json, duration, page, size, spans


@pytest.mark.parametrize("illness", ILLNESSES)
def test_each_illness_is_found_and_no_other(illness: str) -> None:
    change, name, severity, words, remedies = ILLNESSES[illness]
    facts = healthy_facts()
    change(facts)
    (finding,) = check(facts)
    assert (finding.check, finding.severity) == (name, severity)
    assert all(word in finding.what for word in words), finding.what
    assert all(word in finding.remedy for word in remedies), finding.remedy
    text = page([finding], facts, 100)
    assert text.startswith(severity)
    assert "remedy" in text


def test_where_all_is_well_nothing_is_found() -> None:
    assert check(healthy_facts()) == []
    assert page([], healthy_facts(), 100).startswith("no problem was found\n\njob\n")


def test_every_check_is_tested_here() -> None:
    assert {name for _, name, *_ in ILLNESSES.values()} == {check.__name__ for check in CHECKS}


HEALTHY = {
    "a slow network explains the difference of clocks": hosts(
        (1,), clock={"ahead_seconds": 1.5, "round_trip_seconds": 1.2}
    ),
    "each rank bound to a core of its own": combined(
        ranks((0, 2), cpus=[0], cores=["0 0"]), ranks((1, 3), cpus=[1], cores=["0 1"])
    ),
    "all ranks may use all cores": ranks(cpus=[0, 1, 2, 3], cores=["0 0", "0 1", "0 2", "0 3"]),
    "hardware threads, of which ranks are bound to none": ranks(cpus=[0, 1, 2, 3], cores=["0 0", "0 1"]),
    "as many threads as cores": ranks(threads=2),
    "a quota for each of two containers": combined(
        ranks((0, 1), kernel="the same", quota={"cgroup": "a", "cpus": 2.0}),
        ranks((2, 3), kernel="the same", quota={"cgroup": "a", "cpus": 2.0}),
    ),
    "no /dev/shm": hosts(shm=None),
    "no clocks": hosts(clock=None),
    "Intel MPI under Hydra": combined(
        world_of_one("Intel(R) MPI Library 2021.17", ""), job(launcher=None, promised=1, at_hand_mpi="MPICH")
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_only_looks_ill(name: str) -> None:
    facts = healthy_facts()
    HEALTHY[name](facts)
    assert check(facts) == []


def test_problems_come_before_notes() -> None:
    facts = healthy_facts()
    combined(hosts((1,), processor="Xeon"), output(unseen_by=["node2"]), job(recovers=False))(facts)
    assert [finding.severity for finding in check(facts)] == ["problem", "note", "note"]


def test_the_page_stays_within_its_width_and_is_printable() -> None:
    facts = healthy_facts()
    facts["hosts"] = [host(f"node{n}\x1b[31m", n) for n in range(1, 40)]
    facts["ranks"] = [rank(n, h["host"], (0,)) for n, h in enumerate(facts["hosts"])]
    ILLNESSES["small /dev/shm"][0](facts)
    lines = page(check(facts), facts, 72).splitlines()
    assert max(map(len, lines)) <= 72
    assert all(line.isprintable() for line in lines)
    assert lines[-1].endswith("23 hosts; --json shows all")


def test_json_holds_findings_and_facts() -> None:
    facts = healthy_facts()
    job(recovers=False)(facts)
    data = as_json(check(facts), facts)
    assert list(data) == ["findings", "job", "ranks", "hosts", "output", "reduction"]
    assert data["findings"][0]["check"] == "fault_tolerance_off"
    assert set(data["findings"][0]) == {"check", "severity", "what", "remedy"}


def test_numbers_for_people() -> None:
    assert [size(n) for n in (8, 64_000, 4_000_000, 32e9)] == ["8 B", "64 kB", "4 MB", "32 GB"]
    assert [duration(s) for s in (3.14e-6, 0.0025, 1.2)] == ["3.14 µs", "2.5 ms", "1.2 s"]
    assert spans([0, 1, 2, 5]) == "0-2, 5"


@pytest.mark.parametrize(("latency", "bits_per_second", "sizes"), [(1e-5, 1e9, 3), (0.5, 1e9, 3), (1e-5, 1e6, 2)])
def test_only_a_size_that_takes_seconds_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, latency: float, bits_per_second: float, sizes: int
) -> None:
    def native(world: object, layers: list[int], numbers: int, dtype: str, bucket: None) -> SimpleNamespace:
        return SimpleNamespace(name="a sum", size=4 * numbers)

    monkeypatch.setattr(reduction_times, "native", native)
    monkeypatch.setattr(reduction_times, "_round", lambda r: int(1e9 * (latency + 8 * r.size / bits_per_second)))
    measured = reduction_times.reduction_times(SimpleNamespace(size=2, largest=float))  # type: ignore[arg-type]
    assert [time["bytes"] for time in measured["times"]] == [8, 64_000, 4_000_000][:sizes]
    assert measured["name"] == "a sum"
