"""Files that GIS programs open."""
