"""What is asked of images of one place and different dates."""
