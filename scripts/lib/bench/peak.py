"""Run a command and append the peak of its resident memory, in bytes, to a file: ``peak.py FILE COMMAND...``.

mpiexec starts this program, which starts the rank. So the rank itself is measured, without additions.
"""

import os
import resource
import subprocess
import sys

status = subprocess.run(sys.argv[2:], check=False).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
os.write(file, f"{peak}\n".encode())  # a single write, because all ranks append to the file
sys.exit(status)
