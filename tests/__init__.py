"""Tests of the product. Most networks in them are so small that threads wait for one another more
than they work."""

import os

# before torch is loaded, here or in a process of a test's own
os.environ.setdefault("OMP_NUM_THREADS", "1")
