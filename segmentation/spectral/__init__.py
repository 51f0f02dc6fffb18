"""What bands mean: indices and reflectance."""
