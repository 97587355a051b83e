"""Statistics over rounds: medians, ranges, and ratios within each round."""

import statistics
from collections.abc import Callable
from typing import Any

from processes import Failed

Figure = dict[str, Any]  # median, low, high and values (one for each round, None if it failed); or failed: the reason


def figure(values: list[float | None], failure: str | None = None) -> Figure:
    """Return median, lowest and highest of the values that are not None, or the `failure` if there are none."""
    measured = [value for value in values if value is not None]
    if not measured:
        return {"failed": failure or "not measured"}
    return {"median": statistics.median(measured), "low": min(measured), "high": max(measured), "values": values}


def ratio(above: Figure, below: Figure) -> Figure:
    """Return ``above / below`` for each round."""
    for part in (above, below):
        if "failed" in part:
            return {"failed": part["failed"]}
    pairs = zip(above["values"], below["values"], strict=True)
    return figure([a / b if a is not None and b is not None else None for a, b in pairs], "no round had both")


def total(*parts: Figure) -> Figure:
    """Return the sum for each round."""
    for part in parts:
        if "failed" in part:
            return {"failed": part["failed"]}
    rows = zip(*(part["values"] for part in parts), strict=True)
    return figure([None if None in row else sum(row) for row in rows])


def in_turn(rounds: int, measurements: dict[str, Callable[[], Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """Run all measurements in alternation; a measurement that fails before its first result does not run again.

    Returns
    -------
    dict
        For each name the results of all rounds (None if a round failed), or the failure.
    """
    results: dict[str, list[Any]] = {name: [] for name in measurements}
    failures: dict[str, str] = {}
    for number in range(rounds):
        for name, measure in measurements.items():
            if name in failures and not any(value is not None for value in results[name]):
                continue
            try:
                results[name].append(measure())
            except Failed as failure:
                results[name].append(None)
                failures[name] = str(failure)
                say(f"{name}, round {number + 1}: failed: {failure}")
    return {
        name: values if any(value is not None for value in values) else failures.get(name, "not measured")
        for name, values in results.items()
    }


def of(results: Any, key: str) -> Figure:
    """Return the figure of one key of the results of a measurement, as `in_turn` returns them."""
    if isinstance(results, str):
        return {"failed": results}
    return figure([value and value[key] for value in results])
