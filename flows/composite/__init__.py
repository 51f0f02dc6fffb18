"""One image of several dates."""
