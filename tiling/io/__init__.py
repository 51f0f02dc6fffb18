"""Files, disks, other machines, and what GDAL is told about them."""
