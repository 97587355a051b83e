"""Which of its kernels OpenBLAS computes with: on two families of processors its own choice is not the best for all.

AMD's Zen 4 has the instructions of AVX-512 and works each off in two halves. OpenBLAS takes its kernel for AVX-512, but
that for AVX2 is 5 to 7 % faster at large products; at small ones it is up to twice as slow.

AMD's Zen 5 for servers does not halve them, and the kernel for AVX-512 is up to twice as fast there. But for a few
samples in a large layer it takes up to twice as long. All figures: docs/benchmarks.md.
"""

import ctypes
import functools
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnmpi.nn.blas import library

FOR_AVX512, FOR_AVX2 = "SkylakeX", "Haswell"
VARIABLE = "OPENBLAS_CORETYPE"  # OpenBLAS reads it when it chooses; who has set it has chosen
SMALL = 10**6  # multiplications of a product, up to which OpenBLAS's AVX-512 kernel does not rearrange the matrices
LARGE, FEW = 10**6, 16  # weights of a layer above which, and samples below which, it is the slower one on Zen 5
SERVERS = range(32)  # models of AMD's family 26 that are EPYC 9005; others of Zen 5 may halve the instructions


def choose_kernel(weights: int, samples: int) -> None:
    """Have OpenBLAS compute with what is fastest if the largest product of a step is of so many weights and samples.

    Nothing else in this process may compute meanwhile.
    """
    if is_choice():
        slow = weights * samples > SMALL if _zen() == 4 else weights > LARGE and samples < FEW
        use(FOR_AVX2 if slow else FOR_AVX512)


def is_choice() -> bool:
    """Whether it is for `choose_kernel` to say which kernel computes."""
    return VARIABLE not in os.environ and first() == FOR_AVX512 and _zen() in (4, 5)


def use(kernel: str) -> None:
    """Have OpenBLAS compute with the kernel of this name, `first` or one of older instructions.

    OpenBLAS does so without a look at the processor, and a kernel with instructions that the processor does not have
    ends the process.
    """
    if current() == kernel:
        return
    openblas = library()
    os.environ[VARIABLE] = kernel
    try:
        openblas.gotoblas_dynamic_quit()
        openblas.gotoblas_dynamic_init()
    finally:
        del os.environ[VARIABLE]


def is_slow_across(dtype: npt.DTypeLike) -> bool:
    """Whether the kernel is slow to rearrange weights of this type for a result that lies sample by sample.

    OpenBLAS has no code of its own for that there. It pays to compute it in the other order, and to copy it: with
    512 x 512 weights that takes 0.6 of the time for 32 samples, 0.9 for 128.
    """
    return bool(dtype == np.float32) and current() == FOR_AVX512


@functools.cache
def first() -> str:
    """The kernel that OpenBLAS took before any was chosen here."""
    return current()


def current() -> str:
    """The name of the kernel; nothing where NumPy has another BLAS, or one whose kernel cannot be changed."""
    openblas = library()
    name = getattr(openblas, "scipy_openblas_get_corename64_", None)
    if not (name and hasattr(openblas, "gotoblas_dynamic_quit") and hasattr(openblas, "gotoblas_dynamic_init")):
        return ""
    name.restype = ctypes.c_char_p
    return str(name().decode())


def _zen() -> int:
    """Which of AMD's generations the processor is, 4 or 5, if it is one that was measured; 0 for any other."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return 0
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    if said.get("vendor_id") != "AuthenticAMD" or "avx512f" not in said.get("flags", "").split():
        return 0
    if said["cpu family"] == "25":  # Zen 3, too, but that does not have the instructions
        return 4
    return 5 if said["cpu family"] == "26" and int(said["model"]) in SERVERS else 0
