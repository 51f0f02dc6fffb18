"""Objects: regions merged in nested levels while the contrast along common borders is low."""
