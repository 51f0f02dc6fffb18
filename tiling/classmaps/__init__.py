"""Class rasters: legend, counts, two of them on one grid, areas in zones."""
