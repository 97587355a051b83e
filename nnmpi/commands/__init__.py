"""The commands, one file each. Only commands print, handle signals and end the process."""
