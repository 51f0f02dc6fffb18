"""Chips through a network."""
