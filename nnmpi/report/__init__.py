"""What people look at: the timeline of a run."""
