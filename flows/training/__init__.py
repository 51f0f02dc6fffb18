"""Scenes and labels in, a bundle out."""
