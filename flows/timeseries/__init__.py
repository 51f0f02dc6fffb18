"""Indices of many dates: in zones, and pixel by pixel."""
