"""Model the time of a step over ranks, hosts and links: measure, fit, check, predict.

Measures steps between emulated hosts (needs root and the Debian packages of tests/cluster/debian-packages), fits
`model.py` to some of them, compares it with the others, and predicts 1 to 10,000 ranks. Writes scaling.json, scaling.md
and two pictures to a directory. Run nothing else on the machine meanwhile.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
import measured
import pictures
from model import Setting, fit


def main() -> None:
    """Measure, or read earlier measurements, and write tables and pictures."""
    parser = argparse.ArgumentParser(prog="scripts/scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the steps between hosts  [default: 3]")
    parser.add_argument("--accuracy", type=float, default=0.97, help="test accuracy for digits  [default: 0.97]")
    parser.add_argument("--again", action="store_true", help="do not measure; read scaling.json")
    parser.add_argument("--output", type=Path, default=Path("scaling"), help="output directory  [default: scaling/]")
    options = parser.parse_args()
    path = options.output / "scaling.json"
    if options.again:
        results = json.loads(path.read_text())
    else:
        if reason := measured.between.why_not():
            sys.exit(f"scaling: {reason}")
        options.output.mkdir(parents=True, exist_ok=True)
        results = {"accuracy": options.accuracy, "batches": measured.epochs_to_accuracy(options.accuracy)}
        results |= measured.steps(options.rounds)
        path.write_text(json.dumps(results, indent=1) + "\n")
        results = json.loads(path.read_text())  # JSON turns the batch sizes, which are keys, into strings

    settings = [_setting(row, results) for row in results["steps"]]
    rows = [row for row in results["steps"] if np.isfinite(row["seconds"])]
    settings = [s for s, row in zip(settings, results["steps"], strict=True) if np.isfinite(row["seconds"])]
    to_fit = [(s, row["seconds"]) for s, row in zip(settings, rows, strict=True) if row["fit"]]
    model = fit([s for s, _ in to_fit], [t for _, t in to_fit])
    for row, setting in zip(rows, settings, strict=True):
        row["predicted"] = model.step(setting)
    results["model"] = asdict(model)
    results["critical"] = _critical({int(b): n for b, n in results["batches"].items()})
    pictures.check(rows, options.output / "scaling-check.png")
    limits = pictures.predictions(model, results, options.output / "scaling.png")
    text = markdown(results, rows, limits)
    (options.output / "scaling.md").write_text(text)
    print(text)


def _setting(row: dict[str, Any], results: dict[str, Any]) -> Setting:
    name = f"{'-'.join(map(str, row['layers']))} ({row['batch']})"
    compute = results["alone"][name][str(row["batch"])]
    parameters = results["parameters"][name]
    return Setting(row["hosts"], row["each"], parameters, compute, row["gbit"] * 1e9, cores=measured.CORES)


def _critical(batches: dict[int, int]) -> dict[str, float]:
    """Fit ``fewest`` and ``batch`` of ``steps = fewest (1 + batch / b)`` by least squares of the relative errors."""
    b, n = np.array(list(batches), float), np.array(list(batches.values()), float)
    (fewest, product), _ = nnls(np.stack([1 / n, 1 / (b * n)], axis=1), np.ones(len(b)))
    return {"fewest": max(fewest, 1.0), "batch": product / max(fewest, 1.0)}


def markdown(results: dict[str, Any], rows: list[dict[str, Any]], limits: list[dict[str, Any]]) -> str:
    """Return the tables in Markdown."""
    lines = ["### Measured", "", "| hosts × ranks | Gbit/s | network (samples a rank) | measured | model | off | |"]
    lines.append("| --- " * 7 + "|")
    errors = []
    for row in rows:
        off = row["predicted"] / row["seconds"] - 1
        if not row["fit"]:
            errors.append(abs(off))
        network = f"{'-'.join(map(str, row['layers']))} ({row['batch']})"
        lines.append(
            f"| {row['hosts']} × {row['each']} | {row['gbit']} | {network} | "
            f"{row['seconds'] * 1e3:.3g} ms | {row['predicted'] * 1e3:.3g} ms | {off:+.0%} | "
            f"{'fitted to' if row['fit'] else 'predicted'} |"
        )
    within = sum(error <= 0.15 for error in errors)
    lines += [
        "",
        f"Of the {len(errors)} predicted settings, {within} are within 15 %; the median error is "
        f"{np.median(errors):.0%}.",
    ]
    lines += ["", "Parameters: " + ", ".join(f"{name} {value:.3g}" for name, value in results["model"].items()) + "."]
    batches = ", ".join(f"{b}: {n}" for b, n in results["batches"].items())
    lines += [
        "",
        f"Steps to accuracy {results['accuracy']} on digits with 64-128-10, for each batch size: {batches}.",
    ]
    lines += [
        "",
        "### Predicted",
        "",
        f"{pictures.EACH} ranks on each host. Weak and strong scaling: the most ranks with an efficiency of at least",
    ]
    lines += ["one half. Fastest: the number of ranks that reach the accuracy first. Speedup: over one rank.", ""]
    lines += ["| Gbit/s | delay | weak scaling | strong scaling | fastest | speedup |", "| --- " * 6 + "|"]
    for row in limits:
        lines.append(
            f"| {row['gbit']} | {row['delay'] * 1e6:.0f} µs | {row['weak']:,} | {row['strong']:,} | "
            f"{row['accuracy']:,} | {row['faster']:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
