"""The hosts of a job: what a hostfile says. The launcher gets a clean copy of it.

Launchers differ in what they make of Windows' line ends, byte order marks, comments behind a host, and a host that is
named twice; and ``--hostfile <(…)`` can be read only once.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from nnmpi.errors import InputError

LARGEST = 1 << 20  # bytes; enough for tens of thousands of hosts
EXAMPLES = {"Open MPI": "node01 slots=8", "MPICH": "node01:8", "Intel MPI": "node01"}
HOST = re.compile(r"(?:(?P<user>[\w.+-]+)@)?(?P<name>\w[\w.-]*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[\w.:%-]*)")
# the options of a host and their other spellings; Hydra's come after "host:slots"
OPEN_MPI_OPTIONS = {
    **{
        "slots": "slots",
        "count": "slots",
        "user": "user",
        "username": "user",
        "user-name": "user",
        "user_name": "user",
    },
    **dict.fromkeys(("max_slots", "max-slots", "slots_max", "slots-max"), "max_slots"),
    "port": "port",
}
HYDRA_OPTIONS = {name: name for name in ("user", "ifname", "binding")}


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
        # a pipe that this process has open, as of <(…), ends with what writes it; one with a name of its own may not
        if (
            path.exists()
            and not path.is_file()
            and not (path.is_fifo() and os.path.realpath(path).startswith("/proc/"))
        ):
            raise InputError(f"--hostfile {path}: not a file")
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        text = data.decode("utf-8-sig")  # without a byte order mark
    except OSError as error:
        raise InputError(f"--hostfile {path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise InputError(f"--hostfile {path}: is not a text file in UTF-8") from None
    if len(data) > LARGEST:
        raise InputError(f"--hostfile {path}: is larger than {LARGEST >> 20} MB")
    hosts = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].strip()
        if words:
            try:
                hosts.append(_host(words, mpi))
            except ValueError as error:
                raise InputError(
                    f"--hostfile {path}, line {number}: {words[:60]!r} is not how a hostfile of {mpi} names a host; "
                    f"{error if str(error) else f'an example is {EXAMPLES[mpi]!r}'}"
                ) from None
    if not hosts:
        raise InputError(f"--hostfile {path}: names no host; a line of it would be {EXAMPLES[mpi]!r}")
    return _merged(hosts) if mpi == "Open MPI" else hosts


def write_hostfile(path: Path, hosts: list[Host]) -> None:
    """Write the lines of `hosts`."""
    path.write_text("".join(f"{host.line}\n" for host in hosts))


def _host(line: str, mpi: str) -> Host:
    """The host in a line without a comment.

    Raises
    ------
    ValueError
        If it is none; with advice, if there is any.
    """
    if re.search(r"\w\[[\d,-]+\]", line):
        raise ValueError("write one host a line, as 'scontrol show hostnames' does")
    first, *rest = re.sub(r"\s*=\s*", "=", line).split()
    spellings = OPEN_MPI_OPTIONS if mpi == "Open MPI" else HYDRA_OPTIONS
    options: dict[str, str] = {}
    for word in rest:
        name, _, value = word.partition("=")
        if name not in spellings or not value:
            raise ValueError
        options[spellings[name]] = value
    if mpi != "Open MPI":
        if first.count(":") > 1:
            raise ValueError("Hydra takes no IPv6 addresses: give the host a name, for example in /etc/hosts")
        first, colon, slots = first.partition(":")
        options |= {"slots": slots} if colon else {}
    host = HOST.fullmatch(first)
    if not host or ("slots" in options and not _is_count(options["slots"])):
        raise ValueError
    user = options.pop("user", host["user"])
    count = int(options.pop("slots")) if "slots" in options else None
    more = "".join(f" {name}={value}" for name, value in options.items())
    if mpi == "Open MPI":
        name = f"{user}@{host['name']}" if user else host["name"]
        return Host(name, count, f"{name}{f' slots={count}' if count else ''}{more}")
    text = f"{host['name']}{f':{count}' if count else ''}{f' user={user}' if user else ''}{more}"
    return Host(host["name"], None if mpi == "Intel MPI" else count, text)


def _merged(hosts: list[Host]) -> list[Host]:
    """`hosts` with one line for each; the slots of several lines are added up, a line without counts one.

    With ``max_slots`` and the like the last line counts.
    """
    lines: dict[str, list[Host]] = {}
    for host in hosts:
        lines.setdefault(host.name, []).append(host)
    return [same[0] if len(same) == 1 else _sum(same) for same in lines.values()]


def _sum(same: list[Host]) -> Host:
    name, slots = same[0].name, sum(host.slots or 1 for host in same)
    more = [word for word in same[-1].line.split()[1:] if not word.startswith("slots=")]
    return Host(name, slots, " ".join([name, f"slots={slots}", *more]))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0
