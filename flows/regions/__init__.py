"""Regions of a scene, planned, and made once for whoever needs them."""
