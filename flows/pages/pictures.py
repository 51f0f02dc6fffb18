"""Pictures inside a page of Markdown, as data URIs: small, and in the very colours of the
legend."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tiling.classmaps.legend import rgb

if TYPE_CHECKING:
    from pathlib import Path

    from flows.storage.remote import Remote

LONGEST_URI = 300_000
"""Characters of a picture inside an artifact; pages that hold more become slow."""

_SMALLER = 0.95

_SQUARE = 14
"""Pixels of a colour in a table."""


def data_uri(
    picture: Path | Remote, longest: int = LONGEST_URI, colours: Iterable[str] = ()
) -> str:
    """A PNG as a data URI of at most `longest` characters: with 256 colours if need be, then with
    fewer pixels.

    Pixels of these `colours` ("#3b7dd8") keep them, whatever becomes of the others.
    """
    from PIL import Image

    data = picture.read_bytes()
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    kept = np.array(sorted({*map(rgb, colours), (255, 255, 255)}), np.uint8)
    shrink = 1.0
    while len(uri := _uri(data)) > longest and min(image.size) * shrink > 1:
        size = max(1, round(image.width * shrink)), max(1, round(image.height * shrink))
        data = _with_palette(_smaller(image, size, kept), kept)
        shrink *= min(_SMALLER, math.sqrt(longest / len(_uri(data))))
    return uri


@lru_cache
def square(colour: str) -> str:
    """A small square of a colour, as a data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (_SQUARE, _SQUARE), rgb(colour)).save(buffer, "PNG")
    return _uri(buffer.getvalue())


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _smaller(
    image: Any, size: tuple[int, int], kept: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """The picture `(y, x, 3)` in that size: averages, but of colours that are kept one of the
    pixels there."""
    from PIL import Image

    mean = np.array(image.resize(size, Image.Resampling.BOX))
    one = np.array(image.resize(size, Image.Resampling.NEAREST))
    return np.where((_place_in(kept, one) >= 0)[..., None], one, mean)


def _place_in(kept: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """For each pixel of `(..., 3)` its place among the colours `(n, 3)`, which are sorted; -1 where
    it is none."""
    known, seen = (values.astype(np.int64) @ [65536, 256, 1] for values in (kept, pixels))
    place = np.searchsorted(known, seen).clip(max=len(known) - 1)
    return np.where(known[place] == seen, place, -1)


def _with_palette(pixels: npt.NDArray[np.uint8], kept: npt.NDArray[np.uint8]) -> bytes:
    """A PNG of 256 colours: those that are kept, and those that suit the other pixels."""
    from PIL import Image

    place = _place_in(kept, pixels)
    others = place < 0
    palette = kept
    if others.any():
        line = Image.fromarray(pixels[others][None]).quantize(
            256 - len(kept), dither=Image.Dither.NONE
        )
        place[others] = len(kept) + np.array(line)[0]
        palette = np.concatenate([kept, np.array(line.getpalette(), np.uint8).reshape(-1, 3)])
    image = Image.fromarray(place.astype(np.uint8), mode="P")
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
