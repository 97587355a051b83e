"""A bound call: a function with all its arguments. The calls of a step are made once; each step only runs them."""

from collections.abc import Callable

Call = Callable[[], object]
