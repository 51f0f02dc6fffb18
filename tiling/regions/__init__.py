"""Connected regions of rasters of any size, joined across seams."""
