"""A program that becomes another one, which the system asks to end (SIGTERM) when the process that started it dies.

``python end_with_parent.py PARENT PROGRAM ARGUMENT...``. PROGRAM may also write to a terminal that another group of
processes has in the foreground: else ``stty tostop`` would stop it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, program: list[str]) -> None:
    """Become `program`, unless the process `parent` is already gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    if os.getppid() == parent:
        os.execv(program[0], program)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
    sys.exit(128 + signal.SIGTERM)
