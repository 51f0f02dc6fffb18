"""The forms an analyst fills in, in a GIS person's words, and the requests they become."""
