"""A scene cut into regions: objects, superpixels, zones or edges, as rasters and layers."""
