"""What came of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmentation.accuracy.confusion import Accuracy
from segmentation.models.bundle import Bundle


@dataclass(frozen=True)
class Finished:
    """A bundle that was trained, with its accuracies and notes."""

    bundle: Bundle
    validation: Accuracy | None
    """Of the run that was validated."""
    test: Accuracy | None
    """Of the bundle, on a test part."""
    judged: dict[str, str]
    """What was judged on each of these parts, in words."""
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The training's outcome as plain JSON."""
        return {
            "bundle": str(self.bundle.folder),
            "digest": self.bundle.digest,
            "validation": self.validation.to_dict() if self.validation else None,
            "test": self.test.to_dict() if self.test else None,
            "notes": list(self.notes),
            "files": [str(path) for path in self.files],
            "seconds": round(self.seconds, 1),
        }
