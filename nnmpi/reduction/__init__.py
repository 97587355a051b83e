"""Reductions: how each step makes the sums over all ranks."""
