"""What computes batches: a processor's cores or a graphics card, and the way there and back."""
