"""Outlines of buildings with right angles, near those of the pixels."""
