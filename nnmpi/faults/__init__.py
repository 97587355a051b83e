"""What happens when ranks die, stop or hang."""
