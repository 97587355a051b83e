"""Data-parallel training of neural networks on any MPI cluster, in NumPy."""

__version__ = "0.1.0"
