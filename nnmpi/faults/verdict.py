"""The message of a watchdog: which ranks the others wait for, and why."""

from itertools import pairwise

from nnmpi.faults.side_channel import Report
from nnmpi.mpi.position import place

STATES = {
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
    "D": "hanging in the operating system, perhaps on a file",
    None: "dead",
}


def verdict(
    own: Report,
    hosts: dict[int, str],
    missing: list[int],
    answers: dict[int, Report],
    states: dict[int, str | None],
    unreached: set[int],
    goes_on: bool,
) -> str:
    """Return the message, without the prefix ``nnmpi:`` and without the remark at its end.

    Parameters
    ----------
    own
        The position of the rank that reports: it is in a collective.
    hosts
        The host of each rank.
    missing
        The ranks that are not in a collective or did not answer. If it is empty, all are in one that does not end.
    answers
        The answers of the other ranks.
    states
        The process states (as in ``/proc``) of missing ranks on this machine that did not answer; None for dead.
    unreached
        The ranks on machines that have never sent a packet.
    goes_on
        Whether the other ranks go on without the missing ones.
    """
    waiting = sorted({own.rank, *(rank for rank, report in answers.items() if report.waits)})
    where = place(own.phase, own.epoch, own.step)
    text = f"no progress for {own.seconds:.0f} s: {ranks(waiting)} wait{'s' * (len(waiting) == 1)} in {where}"
    if missing:
        fates = {rank: _fate(rank, answers, states, unreached) for rank in missing}
        groups: dict[tuple[str, str], list[int]] = {}
        for rank in missing:
            groups.setdefault((hosts[rank], fates[rank]), []).append(rank)
        text += ", for " + ", ".join(f"{ranks(group)} on {host} ({fate})" for (host, fate), group in groups.items())
    else:
        text += "; all have arrived there, so MPI itself or the network hangs"
    them = "it" if len(missing) == 1 else "them"
    return text + (f". The others go on without {them}" if goes_on else ". The job ends")


def _fate(rank: int, answers: dict[int, Report], states: dict[int, str | None], unreached: set[int]) -> str:
    """Return why the others wait for a missing rank."""
    if rank in answers:
        report = answers[rank]
        return f"still busy in {place(report.phase, report.epoch, report.step)}"
    if rank in states:
        return STATES.get(states[rank], "alive, but too busy to answer")
    if rank in unreached:
        return "never answered, perhaps a firewall stops UDP"
    return "no answer: stopped, dead, or its host is cut off"


def ranks(numbers: list[int]) -> str:
    """Return ``rank 2``, ``ranks 0, 1``, ``ranks 0 to 6, 8``."""
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]]
    parts = [
        f"{a} to {b}" if b > a + 1 else ", ".join(map(str, range(a, b + 1))) for a, b in zip(starts, ends, strict=True)
    ]
    return f"rank{'s' * (len(numbers) > 1)} {', '.join(parts)}"
