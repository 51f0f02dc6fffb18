"""Two maps."""
