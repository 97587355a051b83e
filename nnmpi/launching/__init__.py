"""Starting the ranks of a job with an MPI launcher."""
