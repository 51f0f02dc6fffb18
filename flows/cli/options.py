"""What a person may type that stands in no request, and what no option has a use for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

LARGEST = 2**31 - 1
"""The largest whole number that any option takes: no raster has a longer side."""


def on_disk(path: Path) -> Path:
    """A path that is no address and has a name, so that something can lie beside it."""
    from tiling.errors import InputError

    if ":/" in str(path):
        raise InputError(
            f"--out {str(path).replace(':/', '://', 1)}: only segment and composite write to "
            "stores; name a folder"
        )
    path = path if path.name else path.absolute()
    if not path.name:
        raise InputError(f"--out {path} is the root of this machine's folders; name a folder in it")
    return path


Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON and nothing else.")]


def check_value(option: str, value: Any) -> None:
    """Raise `InputError` for what no option has a use for; every value that is typed passes here.

    Numbers that are none or beyond all rasters, texts with a character that no path has.
    """
    from tiling.errors import InputError

    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str | Path) and "\0" in str(one):
            raise InputError(f"{option}: a NUL character stands in {str(one)!r}; write it without")
        if (
            isinstance(one, float)
            and not option.endswith("nodata")
            and not (math.isfinite(one) and abs(one) < 1e18)
        ):
            raise InputError(
                f"{option} {one:g}: that is no number of any use here; write a smaller one"
            )
        if isinstance(one, int) and abs(one) > LARGEST:
            raise InputError(
                f"{option} {str(one)[:20]}…: whole numbers end at {LARGEST}; write a smaller one"
            )
