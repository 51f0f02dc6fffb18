"""What will be done, and what a worker does with one shard."""
