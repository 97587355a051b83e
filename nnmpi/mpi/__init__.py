"""All use of MPI: how it starts, the world of ranks, shared memory. No other package imports mpi4py."""
