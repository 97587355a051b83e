"""Write a Slurm job script: the training writes a checkpoint before the time limit, and the job is queued again."""

import re
import shlex
from dataclasses import dataclass

from nnmpi.errors import InputError

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
# Slurm replaces %a in file names by the job's array index; the script does the same in the command.
ARRAY_INDEX = "%a"
INDICES = r"\d+(?:-\d+(?::\d+)?)?"


@dataclass(frozen=True)
class SlurmJob:
    """The resources that a job requests from Slurm.

    Attributes
    ----------
    seconds
        The time limit; None means the limit of the partition.
    grace
        How many seconds before the time limit the training writes a checkpoint and ends.
    array
        The indices of a job array, as in ``sbatch --array``; "" means a single job.
    """

    name: str
    nodes: int
    ntasks_per_node: int
    cpus_per_task: int
    seconds: int | None
    grace: int
    partition: str
    array: str

    def __post_init__(self) -> None:
        if self.array and not re.fullmatch(rf"{INDICES}(,{INDICES})*(%\d+)?", self.array, re.ASCII):
            raise InputError(f"--array is {self.array!r}; allowed are indices such as 1-5, 1,3,7 or 0-20:5%2")
        for flag, value in (("--job-name", self.name), ("--partition", self.partition)):
            if not re.fullmatch(r"[\w.,:%+-]*", value, re.ASCII):
                raise InputError(f"{flag} is {value!r}; allowed are letters, digits and . , : % + - _")
        if self.seconds is not None and self.seconds <= 2 * self.grace:
            raise InputError(
                f"--time is {self.seconds} s and --grace {self.grace} s; allowed is a --time of more than twice --grace"
            )

    def options(self) -> str:
        """Return the ``#SBATCH`` lines that request the resources."""
        values = {
            "job-name": self.name,
            "nodes": self.nodes,
            "ntasks-per-node": self.ntasks_per_node,
            "cpus-per-task": self.cpus_per_task,
            "time": time_limit(self.seconds) if self.seconds is not None else "",
            "partition": self.partition,
            "array": self.array,
            "output": f"%x-{'%A_%a' if self.array else '%j'}.out",
        }
        return "\n".join(f"#SBATCH --{name}={value}" for name, value in values.items() if value)


def parse_time(text: str) -> int:
    """Return the seconds in ``2h``, ``90m``, ``1d12h``, or Slurm's own ``02:00:00`` and ``1-12:00:00``."""
    parts = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text)
    if parts:
        days, *rest = (int(part or 0) for part in parts.groups())
        return days * 86400 + sum(n * unit for n, unit in zip(rest, (3600, 60, 1), strict=True))
    if not re.fullmatch(r"(\d{1,6}[dhms])+", text):
        raise ValueError(text)
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", text))


def time_limit(seconds: int) -> str:
    """Return a time as Slurm writes it, such as ``1-12:00:00``."""
    days, rest = divmod(seconds, 86400)
    return f"{days}-" * bool(days) + f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def first_index(array: str) -> str:
    """Return the first index of a job array, ``3`` for ``3-7:2%4``."""
    return re.split(r"\D", array, maxsplit=1)[0]


def quoted(*words: str, array: str = "") -> str:
    """Quote words for bash; if the job is an `array`, `ARRAY_INDEX` in them becomes its index."""
    if not array:
        return shlex.join(words)
    return " ".join(
        '"$SLURM_ARRAY_TASK_ID"'.join(shlex.quote(part) if part else "" for part in word.split(ARRAY_INDEX)) or "''"
        for word in words
    )


def script(job: SlurmJob, launch: str, train: str, output: str, modules: str) -> str:
    """Return the job script.

    Parameters
    ----------
    launch, train
        ``nnmpi launch``, and ``train`` with its flags except ``--output``, quoted for bash.
    output
        The directory for the results, quoted for bash.
    modules
        The environment modules that the script loads, separated by spaces.
    """
    return f"""\
#!/bin/bash
# Trains with nnmpi. Before the time limit, the training writes a checkpoint and the job is queued again. Submit it with
# sbatch. All nodes must share the working directory and all paths.
{job.options()}
#SBATCH --open-mode=append
#SBATCH --requeue
# USR1 comes {job.grace} s before the time limit, to this script only ("B:"), because mpirun would die of it.
#SBATCH --signal=B:USR1@{job.grace}
{f"module load {modules}" if modules else ""}
output={output}
checkpoints() {{ ls -- "$output/checkpoints" 2>/dev/null; }}
before=$(checkpoints)

# The training runs in the background, because bash runs a trap only between foreground commands. --resume continues
# from the newest checkpoint, if there is one.
{launch} -n "$SLURM_NTASKS" -- {train} --output "$output" &
training=$!

# On each of these signals, the ranks finish the step, write a checkpoint and end. To stop the job with a checkpoint:
#   scancel --batch --signal=INT JOB
# After a plain scancel or preemption, the newest checkpoint is the last one that --checkpoint-every made.
trap 'time_is_up=yes; kill -USR1 "$training"' USR1
trap 'kill -USR1 "$training"' INT TERM

# A trap interrupts `wait`, so repeat it until the training has ended.
until wait "$training"; status=$?; ! kill -0 "$training" 2>/dev/null; do :; done

if [[ ${{time_is_up-}} && $status != 0 ]]; then
    if [[ $(checkpoints) != "$before" ]]; then
        trap '' INT TERM USR1 # if the script ended on a signal now, Slurm could count the job as ended
        scontrol requeue "$SLURM_JOB_ID" && sleep 60 # until Slurm ends this script
    else
        echo "nnmpi: no checkpoint was written before the time limit, so the job is not queued again" >&2
    fi
fi
# Slurm queues a preempted job again, but only if its script is still running.
if [[ $status != 0 ]] && scontrol show job "$SLURM_JOB_ID" | grep -q 'PreemptTime=[0-9]'; then
    sleep 600
fi
exit "$status"
"""
