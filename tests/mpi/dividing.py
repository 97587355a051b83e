"""Each rank updates a slice, or all update all: ``dividing.py slices|all[,numpy] nnmpi-arguments…``.

Also in networks for which it does not pay, and in many pieces. ``numpy``: without BLAS's help.
"""

import sys

import nnmpi.cli
import nnmpi.exchange
import nnmpi.mpi.divided
import nnmpi.nn.optim

how = sys.argv[1].split(",")
nnmpi.mpi.divided.LEAST = 0 if "slices" in how else 1 << 60
nnmpi.nn.optim.WHOLE, nnmpi.nn.optim.PIECE = 0, 1000
if "numpy" in how:
    nnmpi.exchange.fingerprint = lambda dtype: b""  # type: ignore[assignment]
nnmpi.cli.main(sys.argv[2:])
