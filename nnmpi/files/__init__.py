"""The formats on disk; rank 0 writes them."""
