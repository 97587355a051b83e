"""Write ``config.json`` and ``metrics.jsonl``, on rank 0, while a run is in progress."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nnmpi.files.atomic import open_to_append, write_whole

LONGEST_LINE = 1 << 16  # bytes of a line of metrics.jsonl; real ones have a few hundred


class RunLog:
    """The two files in the directory of a run.

    The lines of the first `done` epochs of an earlier log are kept, because a resumed run does not repeat them. Missing
    lines come from `history`: the metrics of epochs in which this rank took part while another rank wrote the log.
    ``earlier`` holds the metrics of all these epochs.
    """

    def __init__(self, directory: Path, settings: dict[str, Any], done: int, history: list[dict[str, Any]]) -> None:
        self._config, self._settings = directory / "config.json", settings
        self._write_config()
        path = directory / "metrics.jsonl"
        lines = _first_epochs(path, done)
        for metrics in history:
            if metrics["epoch"] <= done:
                lines.setdefault(metrics["epoch"], _line(metrics).encode())
        kept = [lines[epoch] for epoch in sorted(lines)]
        self.earlier: list[dict[str, Any]] = [json.loads(line) for line in kept]
        write_whole(path, b"".join(kept))
        self._metrics = open_to_append(path)

    def _write_config(self) -> None:
        write_whole(self._config, (json.dumps(self._settings, indent=2, allow_nan=False) + "\n").encode())

    def epoch(self, metrics: dict[str, Any]) -> None:
        """Append `metrics` as one line of JSON."""
        self._metrics.write(_line(metrics))
        self._metrics.flush()

    def finished(self, scores: dict[str, Any]) -> None:
        """Write to ``config.json`` that the run has finished, and the scores of each part."""
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        self._settings |= {"finished": True, "ended": ended, "scores": scores}
        self._write_config()

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()


def _line(metrics: dict[str, Any]) -> str:
    return json.dumps(metrics, allow_nan=False) + "\n"


def _first_epochs(path: Path, epochs: int) -> dict[int, bytes]:
    """Return the lines of the epochs from 1 to `epochs` by epoch; incomplete lines are left out."""
    if not epochs or path.is_symlink() or not path.is_file():
        return {}
    kept: dict[int, bytes] = {}
    with open(path, "rb") as file:
        while line := file.readline(LONGEST_LINE):
            try:
                epoch = json.loads(line)["epoch"]
                if isinstance(epoch, int) and 1 <= epoch <= epochs and line.endswith(b"\n"):
                    kept[epoch] = line
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return kept
