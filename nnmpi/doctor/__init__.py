"""What a job would run on, what is wrong with it, and the remedy: the command ``info``."""
