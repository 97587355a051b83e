"""Read the hosts of a job from a hostfile, and make a clean copy of it for the launcher.

Launchers differ in how they treat Windows line ends, byte order marks, comments after a host, and a host that is named
twice. Also, ``--hostfile <(…)`` can be read only once.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnmpi.errors import InputError

LARGEST = 1 << 20  # bytes; enough for tens of thousands of hosts
EXAMPLES = {"Open MPI": "node01 slots=8", "MPICH": "node01:8", "Intel MPI": "node01"}
HOST = re.compile(r"(?:(?P<user>[\w.+-]+)@)?(?P<name>\w[\w.-]*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[\w.:%-]*)")
# the spellings of an option -> its name; Hydra's options come after "host:slots"
OPEN_MPI_OPTIONS = {
    **dict.fromkeys(("slots", "count"), "slots"),
    **dict.fromkeys(("user", "username", "user-name", "user_name"), "user"),
    **dict.fromkeys(("max_slots", "max-slots", "slots_max", "slots-max"), "max_slots"),
    "port": "port",
}
HYDRA_OPTIONS = {name: name for name in ("user", "ifname", "binding")}


@dataclass(frozen=True)
class Host:
    """A line of a hostfile; ``slots``, the number of ranks for the host, is None if the line does not give it."""

    name: str
    slots: int | None
    line: str


def read_hostfile(path: Path, mpi: str) -> list[Host]:
    """Return the hosts in the hostfile `path`, which must be in the syntax of `mpi`.

    Raises
    ------
    InputError
        If the file cannot be read, names no host, or has a line in another syntax; the message gives the line.
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
        content = line.partition("#")[0].strip()
        if content:
            try:
                hosts.append(_parse_line(content, mpi))
            except ValueError as error:
                raise InputError(
                    f"--hostfile {path}, line {number}: {content[:60]!r} is not a valid line for {mpi}; "
                    f"{error if str(error) else f'a valid line is {EXAMPLES[mpi]!r}'}"
                ) from None
    if not hosts:
        raise InputError(f"--hostfile {path}: names no host; a valid line is {EXAMPLES[mpi]!r}")
    return _merged(hosts) if mpi == "Open MPI" else hosts


@contextlib.contextmanager
def hostfile_in_memory(hosts: list[Host]) -> Iterator[Path]:
    """Yield the path of a file with the lines of `hosts`; it ends with this process, also after a SIGKILL."""
    with open(os.memfd_create("hosts"), "w") as file:
        file.writelines(f"{host.line}\n" for host in hosts)
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")


def _parse_line(line: str, mpi: str) -> Host:
    """Return the host in a line without a comment. The text of a ValueError for an invalid line is advice, or empty."""
    if re.search(r"\w\[[\d,-]+\]|^\S*,", line):
        raise ValueError("write one host per line, as 'scontrol show hostnames' does")
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
            raise ValueError("Hydra does not accept IPv6 addresses: give the host a name, for example in /etc/hosts")
        first, colon, slots = first.partition(":")
        options |= {"slots": slots} if colon else {}
    host = HOST.fullmatch(first)
    if not host or ("slots" in options and not _is_count(options["slots"])):
        raise ValueError
    user = options.pop("user", host["user"])
    count = int(options.pop("slots")) if "slots" in options else None
    others = "".join(f" {name}={value}" for name, value in options.items())
    if mpi == "Open MPI":
        name = f"{user}@{host['name']}" if user else host["name"]
        return Host(name, count, f"{name}{f' slots={count}' if count else ''}{others}")
    text = f"{host['name']}{f':{count}' if count else ''}{f' user={user}' if user else ''}{others}"
    return Host(host["name"], None if mpi == "Intel MPI" else count, text)


def _merged(hosts: list[Host]) -> list[Host]:
    """Merge the lines of each host into one: their slots are added, a line without slots counts as one slot.

    Other options, such as ``max_slots``, are taken from the last line of the host.
    """
    by_name: dict[str, list[Host]] = {}
    for host in hosts:
        by_name.setdefault(host.name, []).append(host)
    return [lines[0] if len(lines) == 1 else _sum(lines) for lines in by_name.values()]


def _sum(lines: list[Host]) -> Host:
    name, slots = lines[0].name, sum(host.slots or 1 for host in lines)
    others = [word for word in lines[-1].line.split()[1:] if not word.startswith("slots=")]
    return Host(name, slots, " ".join([name, f"slots={slots}", *others]))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0
