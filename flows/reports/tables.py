"""Tables and figures as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiling.io.files import write_text

if TYPE_CHECKING:
    from segmentation.accuracy.confusion import Accuracy
    from segmentation.accuracy.instances import ObjectAccuracy


def json_text(accuracy: Accuracy | ObjectAccuracy) -> str:
    return json.dumps(accuracy.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV, its lines ended by a line feed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV."""
    write_text(path, csv_text(header, rows))
