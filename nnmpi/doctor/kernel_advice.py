"""Advice on OPENBLAS_CORETYPE: on two families of processors, OpenBLAS's choice is not the fastest for all layers.

OpenBLAS chooses its AVX-512 kernel on AMD's Zen 4, which executes each of these instructions in two halves, and on
Zen 5. The figures are in docs/decisions.md.
"""

import os

from nnmpi.doctor.host_facts import cpuinfo

SERVERS = range(32)  # models of AMD's family 26 that are EPYC 9005; other Zen 5 models may halve the instructions


def kernel_advice(kernel: str) -> str:
    """Return when another kernel is faster on this processor than `kernel`, the one that OpenBLAS uses; "" if none is.

    There is no advice if OPENBLAS_CORETYPE is set: the user's choice wins.
    """
    if kernel != "SkylakeX" or "OPENBLAS_CORETYPE" in os.environ:
        return ""
    zen = _zen()
    if zen == 4:
        return "OPENBLAS_CORETYPE=Haswell is 5 to 7 % faster where weights × samples of a layer exceed 10⁶"
    if zen == 5:
        return "OPENBLAS_CORETYPE=Haswell is faster for fewer than 16 samples a rank in layers of over 10⁶ weights"
    return ""


def _zen() -> int:
    """Return the Zen generation of the processor, 4 or 5; 0 for any processor that was not measured."""
    cpu = cpuinfo()
    if cpu.get("vendor_id") != "AuthenticAMD" or "avx512f" not in cpu.get("flags", "").split():
        return 0
    if cpu["cpu family"] == "25":  # also Zen 3, but that has no AVX-512
        return 4
    return 5 if cpu["cpu family"] == "26" and int(cpu["model"]) in SERVERS else 0
