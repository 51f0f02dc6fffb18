"""Machines: pools, clusters, checks of workers, progress."""
