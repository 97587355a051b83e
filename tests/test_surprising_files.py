"""Broken and unusual tables: each is trained on correctly, or refused in one clear line with status 2."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from jobs import CommandServer, Environment, run

pytest.importorskip("pyarrow")

ROWS = 200
generator = np.random.default_rng(0)
X = generator.normal(size=ROWS)
LATE = np.where(X > 0, "yes", "no")
CARRIER = generator.choice(["AA", "UA", "9E"], ROWS)


def table(*columns: object, header: str = "x,carrier,late", separator: str = ",", end: str = "\n") -> str:
    """Return a CSV file with these columns."""
    rows = zip(*columns or (X, CARRIER, LATE), strict=True)
    return end.join([header, *(separator.join(map(str, row)) for row in rows)]) + end


GOOD = table()
LINES = GOOD.splitlines(keepends=True)


def with_line(number: int, line: str) -> str:
    return "".join([*LINES[:number], line, *LINES[number + 1 :]])


def column(values: object, header: str = "x,more,late") -> str:
    return table(X, values, LATE, header=header)


@dataclass(frozen=True)
class Trains:
    """A file that is trained on; only a training that reads x correctly reaches the accuracy."""

    content: str | bytes
    name: str = "table.csv"
    flags: tuple[str, ...] = ()
    accuracy: float = 0.9


@dataclass(frozen=True)
class Refused:
    """A file that is refused, and words of the error message."""

    content: str | bytes
    words: str
    name: str = "table.csv"
    flags: tuple[str, ...] = ()


FILES: dict[str, Trains | Refused] = {
    "as it should be": Trains(GOOD),
    "semicolons": Trains(table(header="x;carrier;late", separator=";")),
    "tabs in a .csv": Trains(table(header="x\tcarrier\tlate", separator="\t")),
    "bars": Trains(table(header="x|carrier|late", separator="|")),
    "decimal commas": Trains(
        table([str(x).replace(".", ",") for x in X], CARRIER, LATE, header="x;carrier;late", separator=";")
    ),
    "decimal commas between commas": Refused(
        table([str(x).replace(".", ",") for x in X], CARRIER, LATE), "Expected 3 columns, got 4"
    ),
    "a row too long": Refused(with_line(77, "1,AA,no,4\n"), "each row needs as many fields"),
    "a row too short": Refused(with_line(77, "1,AA\n"), "each row needs as many fields"),
    "a column twice": Refused(table(header="x,x,late"), "two columns 'x'"),
    "no names of columns": Refused(table(X, X, X > 0, header="1,2,3"), "its first line holds numbers"),
    "a column without a name": Trains(table(range(ROWS), X, LATE, header=",x,late")),
    "BOM": Trains("\ufeff" + GOOD),
    "CRLF": Trains(table(end="\r\n")),
    "old Mac line ends": Trains(table(end="\r")),
    "no line end at the end": Trains(GOOD[:-1]),
    "blank lines": Trains(GOOD.replace("\n", "\n\n")),
    "latin-1": Refused(table(X, ["münchen"] * ROWS, LATE).encode("latin-1"), "iconv"),
    "latin-1 after megabytes": Refused((GOOD * 1000 + "1,mün,no\n").encode("latin-1"), "iconv"),
    "UTF-16": Refused(GOOD.encode("utf-16"), "iconv"),
    "quoted newlines": Trains(table(X, ['"two\nlines, and ""quotes"""', "AA"] * (ROWS // 2), LATE)),
    "a quote that never ends": Refused(with_line(50, '1,"AA,no\n'), "cannot be read"),
    "spaces around numbers": Trains(table([f"  {x} " for x in X], CARRIER, LATE)),
    "empty": Refused("", "is empty"),
    "only a line end": Refused("\n", "is empty"),
    "header only": Refused(LINES[0], "no rows"),
    "one row": Refused("".join(LINES[:2]), "one class"),
    "one column": Refused(table(LATE, header="late"), "no column is left"),
    "all missing": Trains(column([""] * ROWS)),
    "missing in many ways": Trains(column(["", "NA", "NaN", "null", "5"] * (ROWS // 5))),
    "one value": Trains(column([7.5] * ROWS)),
    "one text": Trains(column(["same"] * ROWS)),
    "all different texts": Refused(column([f"row {i}" for i in range(ROWS)]), "--drop more"),
    "all different texts, dropped": Trains(column([f"row {i}" for i in range(ROWS)]), flags=("--drop", "more")),
    "many categories": Trains(
        table(np.tile(X, 20), np.tile(np.arange(ROWS * 10), 2), np.tile(LATE, 20), header="x,shop,late"),
        flags=("--categories", "shop", "--epochs", "4"),
    ),
    "dates": Trains(column([f"2013-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(ROWS)])),
    "times with a zone": Trains(column([f"2013-01-01T{i % 24:02}:00:00Z" for i in range(ROWS)])),
    "dates that are none": Trains(column([f"{i % 12 + 1}/30/2013" for i in range(ROWS)])),
    "huge whole numbers": Trains(column([10**25 + i for i in range(ROWS)])),
    "whole numbers beyond 2^53": Trains(column([2**62 + i for i in range(ROWS)])),
    "infinite": Refused(column(["1"] * (ROWS - 1) + ["inf"]), "column more, is inf"),
    "text in numbers": Trains(column(["1", "2", "unknown", "3"] * (ROWS // 4))),
    "percent signs": Trains(column([f"{i % 10}%" for i in range(ROWS)])),
    "booleans": Trains(column(["true", "FALSE"] * (ROWS // 2))),
    "target missing in a row": Refused(with_line(42, "0.5,AA,\n"), "the target late is missing in row 41 (from 0)"),
    "target with one class": Refused(table(X, CARRIER, ["no"] * ROWS), "all samples are of one class, no"),
    "target named that is not there": Refused(
        GOOD, "no such column; its columns are x, carrier", flags=("--target", "l")
    ),
    "target dropped": Refused(GOOD, "--target and --drop", flags=("--drop", "late")),
    "no target": Refused(table(header="x,carrier,delayed"), "--target", flags=("--target", "none")),
    "NUL": Trains(with_line(3, "1,A\0A,yes\n")),
    "an archive": Refused(b"PK\3\4" + bytes(range(256)), "iconv"),
    "gzip that is none": Refused(GOOD, "cannot be read", name="table.csv.gz"),
    "gzip": Trains(gzip.compress(GOOD.encode()), name="table.csv.gz"),
    "gzip cut off": Refused(gzip.compress(GOOD.encode() * 100)[:-50], "cannot be read", name="table.csv.gz"),
    "TSV": Trains(table(header="x\tcarrier\tlate", separator="\t"), name="table.tsv"),
    "commas in a .tsv": Trains(GOOD, name="table.tsv"),
    "Parquet that is none": Refused(GOOD, "cannot be read", name="table.parquet"),
    "Parquet cut off": Refused(b"PAR1" + bytes(50), "cannot be read", name="table.parquet"),
    "another suffix": Refused(GOOD, "not a file that ends in", name="./table.xlsx"),
}


def arguments(file: Trains | Refused, directory: Path) -> list[str]:
    content = file.content.encode() if isinstance(file.content, str) else file.content
    (directory / file.name).write_bytes(content)
    target = () if "--target" in file.flags else ("--target", "late")
    return ["train", file.name, *target, "--epochs", "60", "--batch-size", "16", "--output", "run", *file.flags]


def check(file: Trains | Refused, status: int, out: str, messages: list[str]) -> None:
    if isinstance(file, Trains):
        assert (status, messages) == (0, [])
        assert float(out.splitlines()[-1].split()[2].rstrip(",")) >= file.accuracy
    else:
        assert status == 2
        assert len(messages) == 1
        assert file.words in messages[0]


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_file_is_trained_on_or_refused(nnmpi: CommandServer, tmp_path: Path, file: Trains | Refused) -> None:
    words = arguments(file, tmp_path)
    done = nnmpi(*words, cwd=tmp_path, timeout=120)
    check(file, done.status, done.out, done.messages)
    assert "Traceback" not in done.err
    if isinstance(file, Refused):
        assert not (tmp_path / "run").exists()


CASES = ["as it should be", "missing in many ways", "a row too long", "all different texts", "target missing in a row"]


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.in_turn
def test_on_three_ranks(mpi: Environment, tmp_path: Path, name: str) -> None:
    done = run(mpi.nnmpi(3, *arguments(FILES[name], tmp_path)), tmp_path)
    check(FILES[name], done.status, done.out, done.messages)
