"""Forests: the segmenter, its features, its estimators and their file."""
