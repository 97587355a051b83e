"""Year, month, day and other parts of a date, computed with integers by nodes of an ONNX graph.

The calendar is the proleptic Gregorian one. The formulas are those of Howard Hinnant, "chrono-Compatible Low-Level Date
Algorithms", ``civil_from_days``. There a year begins in March, so that the leap day is its last day.
"""

import numpy as np

from nnmpi.export.onnx_graph import Graph

MISSING = np.iinfo(np.int64).min  # NumPy's value for NaT

SECOND = 1_000_000  # microseconds
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND
FOUR_CENTURIES = 146_097  # days
FROM_MARCH_0000 = 719_468  # days from 0000-03-01 to 1970-01-01
THURSDAY = 3  # the weekday of 1970-01-01, counted from Monday


class _Integer:
    """An integer value of a graph, with arithmetic that adds nodes."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def _node(self, operator: str, other: "int | _Integer") -> "_Integer":
        name = other.name if isinstance(other, _Integer) else self.graph.constant(np.array([other], np.int64))
        return _Integer(self.graph, self.graph.add(operator, self.name, name))

    def __add__(self, other: "int | _Integer") -> "_Integer":
        return self._node("Add", other)

    def __sub__(self, other: "int | _Integer") -> "_Integer":
        return self._node("Sub", other)

    def __mul__(self, other: int) -> "_Integer":
        return self._node("Mul", other)

    def __mod__(self, other: int) -> "_Integer":
        return self._node("Mod", other)  # with the sign of the divisor, as in Python

    def __floordiv__(self, other: int) -> "_Integer":
        return (self - self % other)._node("Div", other)  # Div alone rounds towards zero

    def __lt__(self, other: int) -> "_Integer":
        less = self._node("Less", other).name
        return _Integer(self.graph, self.graph.cast(less, "int64"))


def date_parts(graph: Graph, moment: str, wanted: list[str]) -> dict[str, str]:
    """Return the `wanted` parts of `moment`, microseconds since 1970, each in float64 and NaN where it is missing."""
    missing = graph.add("Equal", moment, graph.constant(np.array([MISSING])))
    microseconds = _Integer(graph, graph.add("Where", missing, graph.constant(np.array([0])), moment))
    days, time = microseconds // DAY, microseconds % DAY
    values = {"weekday": (days + THURSDAY) % 7, **_year_month_day(days)}
    if "hour" in wanted:
        values |= {"hour": time // HOUR, "minute": time // MINUTE % 60, "second": time % MINUTE}
    parts = {part: graph.cast(value.name, "float64") for part, value in values.items()}
    if "second" in wanted:
        parts["second"] = graph.add("Div", parts["second"], graph.constant(np.array([float(SECOND)])))
    nan = graph.constant(np.array([np.nan]))
    return {part: graph.add("Where", missing, nan, parts[part]) for part in wanted}


def _year_month_day(days: _Integer) -> dict[str, _Integer]:
    shifted = days + FROM_MARCH_0000
    era = shifted // FOUR_CENTURIES
    day_of_era = shifted % FOUR_CENTURIES
    leap_days = day_of_era // 1460 - day_of_era // 36_524 + day_of_era // (FOUR_CENTURIES - 1)
    year_of_era = (day_of_era - leap_days) // 365
    day_of_year = day_of_era - (year_of_era * 365 + year_of_era // 4 - year_of_era // 100)
    month_from_march = (day_of_year * 5 + 2) // 153
    day = day_of_year - (month_from_march * 153 + 2) // 5 + 1
    month = (month_from_march + 2) % 12 + 1
    return {"year": year_of_era + era * 400 + (month < 3), "month": month, "day": day}
