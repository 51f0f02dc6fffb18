"""What a scene is, and its pixels."""
