"""When `nnmpi info` advises another kernel of OpenBLAS."""

from types import SimpleNamespace

import pytest

from nnmpi.doctor import host_facts
from nnmpi.doctor.kernel_advice import kernel_advice

AVX512 = "fpu avx2 avx512f"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ({"vendor_id": "AuthenticAMD", "cpu family": "25", "model": "17", "flags": AVX512}, "5 to 7 % faster"),
        ({"vendor_id": "AuthenticAMD", "cpu family": "25", "model": "1", "flags": "fpu avx2"}, ""),
        ({"vendor_id": "AuthenticAMD", "cpu family": "26", "model": "2", "flags": AVX512}, "fewer than 16 samples"),
        ({"vendor_id": "AuthenticAMD", "cpu family": "26", "model": "2", "flags": "fpu avx2"}, ""),
        ({"vendor_id": "AuthenticAMD", "cpu family": "26", "model": "36", "flags": AVX512}, ""),
        ({"vendor_id": "GenuineIntel", "cpu family": "25", "model": "2", "flags": AVX512}, ""),
        ({"Features": "fp asimd"}, ""),
    ],
    ids=["Zen 4", "Zen 3", "Zen 5", "Zen 5 without them", "small Zen 5", "Intel", "ARM"],
)
def test_advice_depends_on_the_processor(lines: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(f"{key}\t: {value}" for key, value in {"processor": "0", **lines}.items())
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(host_facts, "Path", lambda path: SimpleNamespace(read_text=lambda: f"{text}\n\n{text}\n\n"))
    advice = kernel_advice("SkylakeX")
    assert advice.startswith("OPENBLAS_CORETYPE=Haswell") == bool(words)
    assert words in advice
    assert kernel_advice("Haswell") == ""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "SkylakeX")
    assert kernel_advice("SkylakeX") == ""
