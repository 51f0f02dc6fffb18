"""Methods that need no training data."""
