"""The output of ``train``. Standard output: summary, progress, results; its last line is the score.

Notes and errors go to standard error. With ``--json`` standard output has only JSON objects, one per line.
"""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from nnmpi.commands.progress import Display
from nnmpi.commands.summary import end_summary, start_summary
from nnmpi.commands.terminal import Terminal, find_terminal
from nnmpi.text import message
from nnmpi.training.events import CheckpointDue, EpochDone, Event, Finished
from nnmpi.training.session import Session


class Screen:
    """The output of one run, on rank 0. After the death of a rank it begins again, perhaps on another rank.

    Parameters
    ----------
    progress : {"auto", "live", "plain", "none"}
        As ``--progress``.
    quiet, as_json
        As ``--quiet`` and ``--json``.
    """

    def __init__(self, progress: str = "auto", quiet: bool = False, as_json: bool = False) -> None:
        self._progress, self._quiet, self._json = progress, quiet, as_json
        self._terminal = Terminal(False)
        self._display: Display | None = None
        self._session: Session | None = None
        self._directory = Path()
        self._epochs: list[dict[str, Any]] = []
        self._started, self._began = time.monotonic(), False
        self._printed = False

    def begin(self, session: Session, directory: Path, threads: int) -> None:
        """Print the summary of the run, once, and show its progress from now on."""
        self._session, self._directory = session, directory
        self._terminal = find_terminal()
        if self._json and not self._began:
            self._print_json("start", directory=str(directory), **session.description)
        elif not (self._quiet or self._began):
            print(start_summary(session, directory, threads, self._terminal.width), flush=True)
        self._began = True
        self._display = Display(session, self._style(), self._terminal)

    def print_event(self, event: Event) -> None:
        """Print what an event reports."""
        if not self._display or not self._session:
            return
        match event:
            case EpochDone(metrics, is_best):
                self._epochs.append(metrics)
                self._display.epoch(metrics)
                if self._json:
                    self._print_json("epoch", **metrics, is_best=is_best)
            case CheckpointDue() if self._json:
                progress = self._session.progress
                self._print_json("checkpoint", epoch=progress.epoch, step=progress.step)
            case Finished() if not self._printed:
                self._display.close()
                self._printed = True
                self._finish(self._session, event)

    def print_note(self, text: str) -> None:
        """Print a note or an error on standard error."""
        with self._display.cleared() if self._display else contextlib.nullcontext():
            print(message(f"nnmpi: {text}"), file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the display of progress."""
        if self._display:
            self._display.close()
            self._display = None

    def _style(self) -> str:
        if self._quiet or self._json:
            return "none"
        shows = self._terminal.shows
        if self._progress == "auto":
            return "live" if shows else "plain"
        # escape codes never go to a file; under srun only the user knows whether there is a terminal
        return "plain" if self._progress == "live" and shows is False else self._progress

    def _finish(self, session: Session, event: Finished) -> None:
        seconds, best_epoch = time.monotonic() - self._started, session.progress.best_epoch
        if self._json:
            self._print_json("finished", directory=str(self._directory), best_epoch=best_epoch, scores=event.all_scores)
            return
        if not self._quiet:
            from nnmpi.commands.score_table import print_scores  # rich takes 40 ms: rank 0 alone

            scores = event.all_scores["test"]
            print_scores(scores, f"test part, {scores['samples']:,} samples:")
            trained = sum(metrics["seconds"] for metrics in self._epochs)
            speed = sum(metrics["samples"] for metrics in self._epochs) / trained if trained else 0.0
            print(end_summary(session, self._directory, seconds, speed, self._terminal.width))
        print(event.scores.line("test"), flush=True)

    def _print_json(self, event: str, **values: Any) -> None:
        print(json.dumps({"event": event, **values}), flush=True)
