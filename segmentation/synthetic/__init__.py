"""The landscape that never was."""
