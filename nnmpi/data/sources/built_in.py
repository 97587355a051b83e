"""The small data sets that come with scikit-learn."""

import importlib.util
from pathlib import Path

import numpy as np

from nnmpi.data.sources.arrays import arrays
from nnmpi.data.sources.source import Request, Source

TABLES = {  # scikit-learn's file, and its number of header lines; not diabetes, which scikit-learn scales
    "digits": ("digits.csv.gz", 0),
    "iris": ("iris.csv", 1),
    "wine": ("wine_data.csv", 1),
    "breast_cancer": ("breast_cancer.csv", 1),
}


def open_source(request: Request) -> Source:
    """Open the data set. Reading scikit-learn's file is faster than importing scikit-learn, so do that if possible."""
    name = request.name
    shape = (-1, 8, 8) if name == "digits" else None
    if name in TABLES:
        file, header_lines = TABLES[name]
        package = importlib.util.find_spec("sklearn")  # without importing it
        path = Path(package.origin).parent / "datasets" / "data" / file if package and package.origin else None
        if path and path.is_file():  # importing scikit-learn takes a second or two and 90 MB
            numbers = np.loadtxt(path, delimiter=",", skiprows=header_lines)
            x = numbers[:, :-1]
            return arrays(x.reshape(shape) if shape else x, numbers[:, -1].astype(int), name)
    import sklearn.datasets

    table = getattr(sklearn.datasets, f"load_{name}")()
    return arrays(table.data.reshape(shape) if shape else table.data, table.target, name)
