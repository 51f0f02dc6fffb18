"""A map against a reference."""
