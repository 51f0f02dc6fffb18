"""What the dates of a pixel say together: curve, trend, season."""
