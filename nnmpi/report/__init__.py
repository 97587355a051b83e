"""Reports, comparisons, logs and timelines of runs."""
