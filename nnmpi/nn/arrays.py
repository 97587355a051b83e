"""Types that the network and the optimizers share."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Call = Callable[[], object]  # a function with all its arguments bound; a step only runs a list of them
