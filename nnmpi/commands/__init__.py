"""The commands: one file each. Only they print, take signals and end the process."""
