"""The network, in NumPy only: no MPI, no files."""
