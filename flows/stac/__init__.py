"""What catalogues say, and what a run says as an item."""
