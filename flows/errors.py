"""What a person can mend, from any room: one line that names the file, the fact and the mend."""

from __future__ import annotations

import segmentation.errors
import tiling.errors

INPUT_ERRORS = (tiling.errors.InputError, segmentation.errors.InputError)
"""To catch. What is raised in flows is `tiling.errors.InputError`."""
