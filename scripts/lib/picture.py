"""Draw the runs made by scripts/picture: ``picture.py RUNS IMAGE``."""

import hashlib
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

runs, image = Path(sys.argv[1]), sys.argv[2]
figure = plt.figure(figsize=(11, 4), layout="constrained")
curves, digits = figure.subfigures(1, 2, width_ratios=[5, 6])

loss, accuracy = curves.subplots(2, 1, sharex=True)
for ranks, style in ((1, {"lw": 6, "alpha": 0.25}), (2, {"lw": 3, "alpha": 0.5}), (4, {"lw": 1, "color": "black"})):
    epochs = [json.loads(line) for line in (runs / str(ranks) / "metrics.jsonl").read_text().splitlines()]
    model = hashlib.sha256((runs / str(ranks) / "model.safetensors").read_bytes()).hexdigest()
    x = [e["epoch"] for e in epochs]
    loss.plot(x, [e["test_loss"] for e in epochs], **style)
    accuracy.plot(
        x, [e["test_accuracy"] for e in epochs], label=f"{ranks} rank{'s' * (ranks > 1)}: {model[:12]}…", **style
    )
loss.set(ylabel="test loss", ylim=(0, None))
accuracy.set(ylabel="test accuracy", xlabel="epoch", xticks=range(0, len(x) + 1, 5))
accuracy.legend(title="SHA-256 of model.safetensors", loc="lower right")
curves.suptitle("One training, on 1, 2 and 4 ranks (--deterministic)")

data = load_digits()
test = train_test_split(np.arange(len(data.target)), test_size=0.2, random_state=42)[1]
predictions = np.load(runs / "predictions.npz")
predicted, probability = predictions["prediction"], predictions["probability"].max(axis=1)
wrong = [i for i in test if predicted[i] != data.target[i]]
shown = [*wrong[:8], *[i for i in test if i not in wrong][: 24 - len(wrong[:8])]]
for axes, i in zip(digits.subplots(3, 8).flat, shown, strict=True):
    axes.imshow(data.images[i], cmap="gray_r")
    axes.axis("off")
    right = predicted[i] == data.target[i]
    title = f"{predicted[i]}  {probability[i]:.0%}" if right else f"{predicted[i]}, is {data.target[i]}"
    axes.set_title(title, color="black" if right else "crimson", fontsize=9)
digits.suptitle(f"Test digits and what the network says: {len(test) - len(wrong)} of {len(test)} right, wrong ones red")
figure.savefig(image, dpi=110)
