"""The findings of checks."""

from dataclasses import dataclass
from typing import Any, Literal

# what `nnmpi.doctor.facts.gather` returns: "job", "ranks", "hosts", "output" and "reduction"
Facts = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """A problem or a note.

    Attributes
    ----------
    severity
        "problem": it costs results or speed. "note": nothing is wrong, but something could be better or may surprise.
    what
        What was found, with its value.
    remedy
        What to do about it.
    check
        The name of the check, for programs.
    """

    severity: Literal["problem", "note"]
    what: str
    remedy: str
    check: str = ""


def places(ranks: list[dict[str, Any]]) -> str:
    """Return where `ranks` run: ``rank 0 on node1``, ``ranks 0, 1 on node1 and 2 on node2``."""
    hosts: dict[str, list[int]] = {}
    for rank in ranks:
        hosts.setdefault(rank["host"], []).append(rank["rank"])
    groups = [f"{', '.join(map(str, numbers))} on {host}" for host, numbers in hosts.items()]
    return f"rank{'s' * (len(ranks) > 1)} {' and '.join(groups)}"
