"""Requests to a training from outside its loop."""

from dataclasses import dataclass


@dataclass
class Requests:
    """Requests of this rank to all ranks. They are set outside the loop and sent with every step."""

    stop: bool = False
    checkpoint: bool = False
