"""The network in NumPy alone: no MPI, no files."""
