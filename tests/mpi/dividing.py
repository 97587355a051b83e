"""Each rank updates a slice, or all update all: ``dividing.py slices|all[,numpy] nnmpi-arguments…``.

Also in networks for which it does not pay, and in many pieces. ``numpy``: without BLAS's help.
"""

import sys

import nnmpi.cli
import nnmpi.nn.optimizers
import nnmpi.reduction.choose
import nnmpi.reduction.divided

how = sys.argv[1].split(",")
nnmpi.reduction.divided.LEAST = 0 if "slices" in how else 1 << 60
nnmpi.nn.optimizers.WHOLE, nnmpi.nn.optimizers.PIECE = 0, 1000
if "numpy" in how:
    nnmpi.reduction.choose.fingerprint = lambda dtype: b""  # type: ignore[assignment]
nnmpi.cli.main(sys.argv[2:])
