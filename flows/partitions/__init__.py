"""Partitions: the ways a scene falls into regions, their settings, and what of a scene they look
at."""
