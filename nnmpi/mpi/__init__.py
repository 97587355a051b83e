"""The one door to MPI: no other package imports mpi4py."""
