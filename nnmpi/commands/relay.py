"""Relay the output of an MPI launcher, which would end its ranks when the reader of its output goes away."""

import contextlib
import os
import threading
from collections.abc import Iterator

from nnmpi.commands.streams import GuardedOutput

BLOCK = 1 << 16  # bytes
LAST = 5  # seconds to wait for the rest of the output after the launcher ended


@contextlib.contextmanager
def relayed_output() -> Iterator[dict[int, GuardedOutput]]:
    """Send the output of this process and its children through pipes that are always read, while entered.

    A terminal is not replaced: the launcher checks whether it has one, and a closed terminal sends a signal. Yields the
    file that each replaced stream goes to.
    """
    threads = []
    targets: dict[int, GuardedOutput] = {}
    # one pipe per file keeps the order of lines if both streams are the same file
    outputs: dict[tuple[int, int], int] = {}
    saved = {number: os.dup(number) for number in (1, 2) if not os.isatty(number)}
    for number, original in saved.items():
        file = os.fstat(number)
        key = (file.st_dev, file.st_ino)
        if key not in outputs:
            source, outputs[key] = os.pipe()
            targets[number] = GuardedOutput(os.dup(original), "wb")
            threads.append(threading.Thread(target=_copy, args=(source, targets[number]), daemon=True))
            threads[-1].start()
        os.dup2(outputs[key], number)
    for output in outputs.values():
        os.close(output)
    try:
        yield targets
    finally:
        for number, original in saved.items():
            os.dup2(original, number)
            os.close(original)
        for thread in threads:
            thread.join(LAST)  # a process that the launcher left behind may keep the pipe open


def _copy(source: int, target: GuardedOutput) -> None:
    with open(source, "rb", buffering=0) as pipe, target:
        while data := pipe.read(BLOCK):
            rest = memoryview(data)
            while rest:
                rest = rest[target.write(rest) :]
