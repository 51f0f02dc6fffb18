"""A picture of what tiles do to regions: scikit-image's felzenszwalb and slic run tile by tile,
overlapping and stitched, and `landweave objects` cut the same way.

    python -m benchmarks.tile_lines IMAGE --out PICTURE.png [--tile 80] [--corner ROW COL]

The figure under each panel is a count: how many of the pairs of pixels across tile lines lie in two
regions, and how many of all other pairs. Where no tile shows the two are alike.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.partitions import Array, Image, Ours, read, standardise
from flows.partitions.objects import Objects
from tiling.grid.window import Window

SIDE = 240
"""Pixels along the side of what is shown."""
SHOWN = 2
"""Picture elements along the side of a pixel."""
INK = (255, 225, 0)


class Cut(NamedTuple):
    """Shares of pairs of neighbouring pixels that lie in two regions."""

    across: float
    """Of those on either side of a tile line."""
    elsewhere: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tile", type=int, default=80, metavar="PX")
    parser.add_argument("--corner", type=int, nargs=2, default=(0, 0), metavar=("ROW", "COL"))
    asked = parser.parse_args()
    row, col = asked.corner
    bands = read(asked.image)[:, row : row + SIDE, col : col + SIDE]
    image = Image(bands, np.ones(bands.shape[1:], bool), None, 0.3)
    panels = []
    for name, labels in (
        ("scikit-image's felzenszwalb, in tiles, stitched", tile_by_tile(image, asked.tile, grow)),
        ("scikit-image's slic, in tiles, stitched", tile_by_tile(image, asked.tile, cluster)),
        ("landweave objects, the same tiles", make_objects(image, asked.tile)),
    ):
        cut = count_pairs(labels, asked.tile)
        print(f"{name}: {cut.across:.1%} of pairs across tile lines, {cut.elsewhere:.1%} elsewhere")
        panels.append(outline(bands, labels, name, cut))
    Picture.fromarray(np.concatenate(panels, axis=1)).quantize(96).save(asked.out, optimize=True)


def tile_by_tile(image: Image, tile: int, segment: Callable[[Array], Array]) -> Array:
    """Labels of tiles that overlap by a quarter on each side, stitched: two regions of neighbouring
    tiles are one where each is what the other shares most pixels with."""
    shown = standardise(image)
    whole = Window.of_shape(*image.valid.shape)
    labels = np.zeros(whole.shape, np.int64)
    last, seen, pairs = 0, np.zeros(whole.shape, np.int64), [np.zeros((2, 0), np.int64)]
    for window in whole.blocks(tile):
        wide = window.pad(tile // 4) & whole
        own = np.unique(segment(shown[wide.within(whole)]), return_inverse=True)[1]
        own = own.reshape(wide.shape) + last + 1
        last = int(own.max())
        pairs.append(pair_up(own, seen[wide.within(whole)]))
        seen[wide.within(whole)] = own
        labels[window.within(whole)] = own[window.within(wide)]
    ends = np.concatenate(pairs, axis=1)
    links = coo_array((np.ones(ends.shape[1]), ends), shape=(last + 1, last + 1))
    return np.asarray(connected_components(links, directed=False)[1][labels])


def pair_up(one: Array, other: Array) -> Array:
    """`(2, n)` labels that are each what the other shares most pixels with; 0 is none."""
    both, count = np.unique(np.stack([one, other])[:, other > 0], axis=1, return_counts=True)
    order = np.argsort(-count, kind="stable")
    both = both[:, order]
    best = [np.isin(np.arange(order.size), np.unique(row, return_index=True)[1]) for row in both]
    return both[:, best[0] & best[1]]


def grow(pixels: Array) -> Array:
    from skimage.segmentation import felzenszwalb

    return np.asarray(felzenszwalb(pixels, scale=60, sigma=0.8, min_size=40, channel_axis=-1))


def cluster(pixels: Array) -> Array:
    from skimage.segmentation import slic

    wanted = pixels.shape[0] * pixels.shape[1] // 400
    return np.asarray(
        slic(pixels, n_segments=wanted, compactness=0.3, channel_axis=-1, convert2lab=False)
    )


def make_objects(image: Image, tile: int) -> Array:
    """Ids of objects made with tiles of this side."""
    with tempfile.TemporaryDirectory() as folder:
        partition, source = Ours(image, Path(folder)).prepare(Objects())
        *_, level = partition.find(source, tile=tile, map=map)
        whole = Window.of_shape(*image.valid.shape)
        labels = np.zeros(whole.shape, np.int64)
        for window in whole.blocks(tile):
            labels[window.within(whole)] = level.labels.read(window).pixels
    return labels


def count_pairs(labels: Array, tile: int) -> Cut:
    """How often neighbours lie in two regions, across tile lines and elsewhere."""
    apart, line = [], []
    for along in (labels, labels.T):
        differ = along[1:] != along[:-1]
        at = np.arange(1, len(along)) % tile == 0
        apart.append(differ)
        line.append(np.broadcast_to(at[:, None], differ.shape))
    differ, on = (np.concatenate([one.ravel() for one in two]) for two in (apart, line))
    return Cut(float(differ[on].mean()), float(differ[~on].mean()))


def outline(bands: Array, labels: Array, name: str, cut: Cut) -> Array:
    """The image in its colours with borders of regions over it, `(y, x, 3)` uint8, and a line of
    text."""
    low, high = np.percentile(bands[:3], [1, 99], axis=(1, 2), keepdims=True)
    colours = np.clip((bands[:3] - low) / np.maximum(high - low, 1) * 255, 0, 255)
    picture = np.moveaxis(colours, 0, -1).astype(np.uint8)
    picture = picture.repeat(SHOWN, axis=0).repeat(SHOWN, axis=1)
    large = labels.repeat(SHOWN, axis=0).repeat(SHOWN, axis=1)
    picture[1:][large[1:] != large[:-1]] = INK
    picture[:, 1:][large[:, 1:] != large[:, :-1]] = INK
    strip = Picture.new("RGB", (picture.shape[1], 40), "white")
    text = f"{name}\nin two regions: {cut.across:.1%} across tile lines, {cut.elsewhere:.1%} else"
    ImageDraw.Draw(strip).text((6, 4), text, fill="black", font_size=14)
    margin = np.full((picture.shape[0] + 40, 8, 3), 255, np.uint8)
    return np.concatenate([np.concatenate([picture, np.asarray(strip)]), margin], axis=1)


if __name__ == "__main__":
    main()
