"""What is asked of fields: how crops stand, and zones inside fields."""
