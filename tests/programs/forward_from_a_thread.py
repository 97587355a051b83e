"""Forwards a signal that reaches another thread than the main one, as SIGCONT may."""

import os
import shutil
import signal
import threading
import time

from nnmpi.launching.forward_signals import SignalForwarder
from nnmpi.launching.mpiexec_command import Command

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
with SignalForwarder(gently=True) as signals:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # now only the other thread can receive it
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    print(signals.run(Command((str(shutil.which("sleep")), "60"), {})), signals.stop_signal())
