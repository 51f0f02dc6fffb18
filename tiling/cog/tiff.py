"""The bones of a TIFF: the tags of its images, read from bytes that GDAL wrote and written around
blocks that are packed already.

TIFF 6.0 and BigTIFF, little-endian; what lies where is GDAL's layout of cloud-optimised GeoTIFFs:
its header first, all images' tags, the lists of their blocks, then the blocks, smallest overview
first, each between its length and its last four bytes once more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, OFFSETS, COUNTS = 256, 257, 324, 325
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
_SHORT, _LONG, _LONG8 = 3, 4, 16
LARGEST_CLASSIC = 2**32 - 1
"""Bytes of a file whose places 32 bits can tell."""
AROUND = 8
"""Bytes that go with each block: its length before it, its last four bytes after it."""

Counts = npt.NDArray[np.uint32]


class Tag(NamedTuple):
    """One fact of an image, its values as they lie in the file."""

    code: int
    kind: int
    n: int
    data: bytes

    @classmethod
    def of(cls, code: int, kind: int, values: npt.ArrayLike) -> Tag:
        packed = np.asarray(values, f"<u{_SIZES[kind]}").ravel()
        return cls(code, kind, packed.size, packed.tobytes())

    @property
    def numbers(self) -> list[int]:
        """The values of a tag of whole numbers."""
        return np.frombuffer(self.data, f"<u{_SIZES[self.kind]}").tolist()


@dataclass(frozen=True)
class Image:
    """An image of a file that is to be written: a raster or one of its overviews."""

    tags: tuple[Tag, ...]
    """All but its blocks'."""
    counts: Counts
    """Bytes of each block, in raster order."""


class Bones(NamedTuple):
    """What a small TIFF says besides its pixels."""

    ghost: bytes
    """What stands between header and first image: GDAL's words about the order of the blocks."""
    images: list[tuple[Tag, ...]]


def read_bones(content: bytes | memoryview) -> Bones:
    """The bones of a small classic TIFF, little-endian."""
    mark, first = struct.unpack_from("<4sI", content)
    assert mark == b"II*\0", f"not what GDAL writes here: {bytes(mark)!r}"
    images, at = [], first
    while at:
        (n,) = struct.unpack_from("<H", content, at)
        images.append(tuple(_read_tag(content, at + 2 + 12 * i) for i in range(n)))
        (at,) = struct.unpack_from("<I", content, at + 2 + 12 * n)
    return Bones(bytes(content[8:first]), images)


def _read_tag(content: bytes | memoryview, at: int) -> Tag:
    code, kind, count = struct.unpack_from("<HHI", content, at)
    size = count * _SIZES[kind]
    place = at + 8 if size <= 4 else struct.unpack_from("<I", content, at + 8)[0]
    return Tag(code, kind, count, bytes(content[place : place + size]))


def find(tags: Iterable[Tag], code: int) -> list[int]:
    """The numbers of the tag of that code."""
    return next(tag for tag in tags if tag.code == code).numbers


def resize(tags: Iterable[Tag], height: int, width: int) -> tuple[Tag, ...]:
    """Tags of an image of another size, its blocks' left out."""
    kept = [tag for tag in tags if tag.code not in (WIDTH, HEIGHT, OFFSETS, COUNTS)]
    sizes = [
        Tag.of(code, _SHORT if length < 2**16 else _LONG, length)
        for code, length in ((WIDTH, width), (HEIGHT, height))
    ]
    return tuple(sorted([*kept, *sizes]))


class _Form(NamedTuple):
    """How places and counts are written."""

    mark: bytes
    entries: str
    place: str
    kind: int
    """Of places in a tag."""


_CLASSIC = _Form(struct.pack("<2sH", b"II", 42), "<H", "<I", _LONG)
_BIG = _Form(struct.pack("<2sHHH", b"II", 43, 8, 0), "<Q", "<Q", _LONG8)


def head_of(ghost: bytes, images: Sequence[Image]) -> bytes:
    """All that stands before the blocks of these images, the raster first; the blocks follow, those
    of the last image first. Beyond 4 GiB it is that of a BigTIFF."""
    lengths = [_length(image) for image in images]
    for form in (_CLASSIC, _BIG):
        # how long it is does not depend on where blocks lie
        begin = len(_render(ghost, images, [0] * len(images), form))
        if begin + sum(lengths) <= LARGEST_CLASSIC:
            break
    starts = list(accumulate(reversed(lengths), initial=begin))[-2::-1]
    return _render(ghost, images, starts, form)


def _length(image: Image) -> int:
    """Bytes of an image's blocks and of what goes with them."""
    return int(image.counts.sum(dtype=np.int64)) + AROUND * image.counts.size


def _render(ghost: bytes, images: Sequence[Image], starts: Sequence[int], form: _Form) -> bytes:
    """The head, where the blocks of each image start there."""
    tags = [_with_blocks(image, start, form) for image, start in zip(images, starts, strict=True)]
    begin = len(form.mark) + struct.calcsize(form.place) + len(ghost)
    places = list(
        accumulate((len(_directory(each, 0, 0, 0, form)[0]) for each in tags), initial=begin)
    )
    head, lists = form.mark + struct.pack(form.place, begin) + ghost, b""
    for number, each in enumerate(tags):
        following = 0 if number == len(tags) - 1 else places[number + 1]
        here, blocks = _directory(each, places[number], following, places[-1] + len(lists), form)
        head, lists = head + here, lists + blocks
    return head + lists


def _with_blocks(image: Image, start: int, form: _Form) -> list[Tag]:
    """All tags of an image whose first block's length stands at `start`."""
    before = np.cumsum(image.counts.astype(np.int64) + AROUND) - image.counts - AROUND
    offsets = Tag.of(OFFSETS, form.kind, start + AROUND // 2 + before)
    return sorted([*image.tags, offsets, Tag.of(COUNTS, _LONG, image.counts)])


def _directory(
    tags: Sequence[Tag], place: int, following: int, lists_place: int, form: _Form
) -> tuple[bytes, bytes]:
    """The directory that lies at `place`, with all that its entries point to; apart from it the
    lists of blocks, which lie elsewhere: a reader may want a few of them only."""
    inline = struct.calcsize(form.place)
    n = struct.pack(form.entries, len(tags))
    values_place = place + len(n) + len(tags) * (4 + 2 * inline) + inline
    entries, values, lists = b"", b"", b""
    for tag in tags:
        data = tag.data
        if len(data) > inline:
            if tag.code in (OFFSETS, COUNTS):
                data = struct.pack(form.place, lists_place + len(lists))
                lists += tag.data
            else:
                data = struct.pack(form.place, values_place + len(values))
                values += tag.data + b"\0" * (len(tag.data) % 2)
        count = struct.pack(form.place, tag.n)
        entries += struct.pack("<HH", tag.code, tag.kind) + count + data.ljust(inline, b"\0")
    return n + entries + struct.pack(form.place, following) + values, lists
