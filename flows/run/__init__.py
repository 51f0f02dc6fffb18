"""The pipeline of one scene, and its record."""
