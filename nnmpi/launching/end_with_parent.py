"""Run a program that gets SIGTERM when the process that started it dies.

``python end_with_parent.py PARENT PROGRAM ARGUMENT...``; PARENT is a process ID. PROGRAM ignores SIGTTOU: after
``stty tostop``, this signal would stop it when it writes to the terminal from the background.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, program: list[str]) -> None:
    """Replace this process by `program`, unless the process `parent` has already ended."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    if os.getppid() == parent:
        os.execv(program[0], program)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
    sys.exit(128 + signal.SIGTERM)
