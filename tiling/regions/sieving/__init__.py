"""Minimum mapping units: regions too small for a map go to a neighbour."""
