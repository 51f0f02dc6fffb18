"""Many scenes, many dates."""
