"""A training on one rank: session, loop, evaluation, resuming, what rank 0 writes."""
