"""Runs a command and appends the peak of its resident memory, in bytes, to a file: ``peak.py FILE COMMAND...``.

It stands between mpiexec and a rank, so that the rank itself is what is measured, with nothing added to it.
"""

import os
import resource
import subprocess
import sys

status = subprocess.run(sys.argv[2:], check=False).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
os.write(file, f"{peak}\n".encode())  # one write: the ranks share the file
sys.exit(status)
