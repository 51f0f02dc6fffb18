"""Files a person gets."""
