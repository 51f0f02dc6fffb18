"""Watersheds: basins of a relief, and what drowns of them."""
