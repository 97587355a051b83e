"""How sums go over the ranks."""
