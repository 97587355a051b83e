"""NumPy with a BLAS that threadpoolctl does not know."""

# reported as OpenMathLib/OpenBLAS 6059: threads of BLAS

from typing import Any

import pytest

from nnmpi import environment
from nnmpi.doctor.page import blas_library


@pytest.mark.parametrize("pools", [[], [{"user_api": "openmp"}], [{"user_api": "blis"}]])
def test_info_says_that_the_blas_is_unknown(pools: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "threadpool_info", lambda: pools)
    text = blas_library(environment.blas())
    assert "None" not in text
    assert "threads" in text
