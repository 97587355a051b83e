"""What a rank holds: sources of samples, their preparation, and the shards they are dealt to."""
