"""Training on one rank: session, loop, evaluation, resuming, and the files that rank 0 writes."""
