"""Peak resident memory of a rank as the kernel counts it, with libraries and MPI's shared memory."""

from collections.abc import Callable
from typing import Any

from ours import peaks
from processes import Failed

MB = 1e6


def measure(quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure digits, synthetic data on 4 ranks, and the bytes for each parameter (slope of two large networks)."""
    rows, features = (20_000, 784) if quick else (640_000, 784)
    data = rows * features * 4
    narrow, wide = (256, 512) if quick else (2048, 4096)

    def digits() -> dict[str, Any]:
        megabytes = [peak / MB for peak in peaks(2, "--data", "digits")]
        return {"ranks": 2, "peak": megabytes[0], "of each rank": megabytes}

    def shares() -> dict[str, Any]:
        flags = ["--data", f"random:{rows}x{features}x10", "--hidden", "32", "--epochs", "1", "--batch-size", "4096"]
        peak = peaks(4, *flags, timeout=400.0)[0]
        return {"ranks": 4, "data": data / MB, "peak": peak / MB, "beyond its share": (peak - data / 4) / MB}

    def slope(*flags: str) -> dict[str, Any]:
        common = ["--data", "random:160x784x10", "--batch-size", "16", "--epochs", "2", *flags]
        low, high = (peaks(2, *common, "--hidden", f"{width},{width}", timeout=200.0) for width in (narrow, wide))
        parameters = [(784 + 1) * width + (width + 1) * width + (width + 1) * 10 for width in (narrow, wide)]
        slopes = [(large - small) / (parameters[1] - parameters[0]) for small, large in zip(low, high, strict=True)]
        return {"ranks": 2, "parameters": parameters, "bytes": slopes[0], "of each rank": slopes}

    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "digits": digits,
        "made-up data": shares,
        "a parameter": lambda: slope("--checkpoint-every", "never"),
        "a parameter, with checkpoints": slope,
    }
    result = {}
    for name, part in parts.items():
        say(f"memory: {name}")
        try:
            result[name] = part()
        except Failed as failure:
            result[name] = {"failed": str(failure)}
            say(f"memory: {name}: failed: {failure}")
    return result
