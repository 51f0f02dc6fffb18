"""What people say lies where, and how it is split."""
