"""The hosts of a job: what a hostfile says."""

from dataclasses import dataclass
from pathlib import Path

from nnmpi.errors import InputError

LARGEST = 1 << 20  # bytes; enough for tens of thousands of hosts
EXAMPLES = {"Open MPI": "node01 slots=8", "MPICH": "node01:8", "Intel MPI": "node01"}


@dataclass(frozen=True)
class Host:
    """A line of a hostfile; ``slots`` is None where it does not say how many ranks the host gets."""

    name: str
    slots: int | None
    line: str


def read_hostfile(path: Path, mpi: str) -> list[Host]:
    """The hosts in the hostfile `path`, which must be in the syntax of `mpi`.

    Raises
    ------
    InputError
        If it cannot be read, names no host, or is in another syntax; it gives the line.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        text = data.decode()
    except OSError as error:
        raise InputError(f"--hostfile {path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise InputError(f"--hostfile {path}: is not a text file") from None
    if len(data) > LARGEST:
        raise InputError(f"--hostfile {path}: is larger than {LARGEST >> 20} MB")
    hosts = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].strip()
        if words:
            try:
                hosts.append(_host(words, mpi))
            except ValueError:
                raise InputError(
                    f"--hostfile {path}, line {number}: {words[:60]!r} is not how a hostfile of {mpi} names a host; "
                    f"an example is {EXAMPLES[mpi]!r}"
                ) from None
    if not hosts:
        raise InputError(f"--hostfile {path}: names no host; a line of it would be {EXAMPLES[mpi]!r}")
    return hosts


def _host(line: str, mpi: str) -> Host:
    name, *rest = "=".join(part.strip() for part in line.split("=")).split()
    options = dict(word.split("=", 1) for word in rest)  # a word without "=" is a ValueError
    slots: str | None
    if mpi == "Open MPI":
        slots = options.get("slots")
    else:
        name, colon, number = name.partition(":")
        slots = number if colon else None
        if "slots" in options:
            raise ValueError(line)
    if not name or "=" in name or name[0] == "-" or (name.count(":") == 1):
        raise ValueError(line)
    return Host(name, None if slots is None or mpi == "Intel MPI" else _whole(slots), line)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise ValueError(text)
    return int(text)


def write_hostfile(path: Path, hosts: list[Host]) -> None:
    """Write the lines of `hosts`."""
    path.write_text("".join(f"{host.line}\n" for host in hosts))
