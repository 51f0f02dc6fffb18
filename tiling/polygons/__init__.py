"""From regions to polygons: outlines, simplification, attributes."""
