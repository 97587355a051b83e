"""Which of its kernels OpenBLAS computes with: on one family of processors its own choice is not the best for all.

AMD's Zen 4 has the instructions of AVX-512 and works each off in two halves. OpenBLAS takes its kernel for AVX-512, but
that for AVX2 is 5 to 7 % faster at large products; at small ones it is up to twice as slow (docs/benchmarks.md).
"""

import ctypes
import functools
import os
from pathlib import Path

from nnmpi.nn.blas import library

OWN_CHOICE, FOR_AVX2 = "SkylakeX", "Haswell"
ZEN_4 = {"vendor_id": "AuthenticAMD", "cpu family": "25"}  # Zen 3, too, for which OpenBLAS chooses otherwise
VARIABLE = "OPENBLAS_CORETYPE"  # OpenBLAS reads it when it chooses; who has set it has chosen
SMALL = 10**6  # multiplications of a product, up to which OpenBLAS's AVX-512 kernel does not rearrange the matrices


def choose_kernel(multiplications: int) -> None:
    """Have OpenBLAS compute with what is fastest if the largest product of a step takes so many `multiplications`.

    Nothing else in this process may compute meanwhile.
    """
    wanted = FOR_AVX2 if multiplications > SMALL else OWN_CHOICE
    if current() == wanted or not is_choice():
        return
    openblas = library()
    os.environ[VARIABLE] = wanted
    try:
        openblas.gotoblas_dynamic_quit()
        openblas.gotoblas_dynamic_init()
    finally:
        del os.environ[VARIABLE]


def is_choice() -> bool:
    """Whether it is for `choose_kernel` to say which kernel computes."""
    return VARIABLE not in os.environ and first() == OWN_CHOICE and _is_zen_4()


@functools.cache
def first() -> str:
    """The kernel that OpenBLAS took before any was chosen here.

    OpenBLAS does any other that it is told without a look at the processor, and one with instructions that the
    processor does not have ends the process.
    """
    return current()


def current() -> str:
    """The name of the kernel; nothing where NumPy has another BLAS, or one whose kernel cannot be changed."""
    openblas = library()
    name = getattr(openblas, "scipy_openblas_get_corename64_", None)
    if not (name and hasattr(openblas, "gotoblas_dynamic_quit") and hasattr(openblas, "gotoblas_dynamic_init")):
        return ""
    name.restype = ctypes.c_char_p
    return str(name().decode())


def _is_zen_4() -> bool:
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return False
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    return all(said.get(key) == value for key, value in ZEN_4.items()) and "avx512f" in said.get("flags", "").split()
