"""The command ``info``: what a job would run on, which problems it has, and their remedies."""
