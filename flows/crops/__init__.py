"""Crops field by field: vigour, anomalies, water stress."""
