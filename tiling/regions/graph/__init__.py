"""Methods that need the whole graph of regions in one process: for rasters up to a bound."""
