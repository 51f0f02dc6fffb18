"""Objects found one by one, each with a mask: networks of the Mask R-CNN family."""
