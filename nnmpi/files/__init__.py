"""The files of a run: their formats on disk, and how rank 0 writes them."""
