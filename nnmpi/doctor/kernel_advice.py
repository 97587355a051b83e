"""Advice on OPENBLAS_CORETYPE: on two families of processors OpenBLAS's own kernel is not the fastest for all layers.

OpenBLAS takes its kernel for AVX-512 on AMD's Zen 4, which works each of these instructions off in two halves, and on
Zen 5. The figures are in docs/decisions.md.
"""

import os

from nnmpi.doctor.host_facts import cpuinfo

SERVERS = range(32)  # models of AMD's family 26 that are EPYC 9005; others of Zen 5 may halve the instructions


def kernel_advice(kernel: str) -> str:
    """When another kernel than `kernel`, the one that OpenBLAS computes with, would pay on this processor; or nothing.

    A user who has set OPENBLAS_CORETYPE has chosen.
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
    """Which of AMD's generations the processor is, 4 or 5, if it is one that was measured; 0 for any other."""
    said = cpuinfo()
    if said.get("vendor_id") != "AuthenticAMD" or "avx512f" not in said.get("flags", "").split():
        return 0
    if said["cpu family"] == "25":  # Zen 3, too, but that does not have the instructions
        return 4
    return 5 if said["cpu family"] == "26" and int(said["model"]) in SERVERS else 0
