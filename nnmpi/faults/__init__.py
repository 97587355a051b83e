"""Dead, stopped and hung ranks: how they are detected and named, and how the others go on."""
