"""Which neighbour takes a region that is too small to be shown."""

from __future__ import annotations

from typing import Literal

Rule = Literal["longest-border", "largest"]
"""The one it shares the longest border with, or the largest."""
