"""Networks as functions: how they are built, how far they look, how weights go back into them."""
