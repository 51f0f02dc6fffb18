"""Cloud-optimised GeoTIFFs: blocks packed in tasks, overviews made on the way, one file of all."""
