"""What somebody outside the loop asks of a training."""

from dataclasses import dataclass


@dataclass
class Requests:
    """What a rank asks of all the others; set from outside, read in every step."""

    stop: bool = False
    checkpoint: bool = False
