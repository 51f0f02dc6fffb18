"""Regions and holes too small for a map, and regions too large for a polygon."""
