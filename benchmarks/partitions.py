"""How good partitions are at equal numbers of segments, and how long they take, beside
scikit-image's.

    python -m benchmarks.partitions --data DIR [--images chesapeake demo] [--pixels 400] [--turns 5]

`--data` is a folder of imagery with one folder for each source, as `IMAGES` names them; what is not
there is left out, and the demo landscape is drawn, as this
repository draws it. Every method is brought to as many segments as
there are times `--pixels` in the image, by its own knob, and judged by

- EV: the share of the variance, of bands brought to one scale, that means of segments explain,
- ASA: the share of pixels that would be right if each segment had its most frequent class,
- UE: what segments hold beyond the class that they lie in, as a share (Neubert & Protzel 2012),
- BR: the share of the pixels at borders of the reference that lie within 1 px of one of segments.

With `--turns` also how much processor time methods take on one thread, ours and scikit-image's in
turns and at the same number of segments: ratios count, for seconds are the machine's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine

from flows.partitions.objects import Objects, ladder
from flows.partitions.partition import Partition
from flows.partitions.superpixels import Superpixels
from flows.partitions.surfaces import Surfaces
from flows.partitions.watershed import Watershed
from tiling.regions.labelling import LabelFiles
from tiling.regions.merging.levels import merge_levels
from tiling.scene.from_files import open_scene

Array = npt.NDArray[Any]
Knob = Callable[[float], Array]
"""A segmentation for a setting; the greater, the fewer segments."""

CROP = np.s_[..., 150:550, 300:700]
BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
"""What bands are called; their order says nothing here."""
TILE = 2048
"""Larger than any of the images."""
SIDE = 2048
"""Of the images on which time is measured."""


class Image(NamedTuple):
    """An image and what is known of it."""

    bands: Array
    """`(band, y, x)`"""
    valid: Array
    reference: Array | None
    """`(y, x)` classes."""
    compactness: float
    """That suits scikit-image's slic best, of those tried."""


class Scores(NamedTuple):
    """How good a segmentation is; NaN where there is no reference."""

    segments: int
    explained: float
    achievable: float
    undersegmentation: float
    recall: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of imagery")
    parser.add_argument("--images", nargs="*", default=[*IMAGES], choices=[*IMAGES])
    parser.add_argument("--pixels", type=int, default=400, help="of a segment on average")
    parser.add_argument("--turns", type=int, default=0, help="also measure time, so often")
    asked = parser.parse_args()
    for name in asked.images:
        try:
            image = IMAGES[name](asked.data)
        except rasterio.errors.RasterioIOError as error:
            print(f"{name} is left out: {error}")
            continue
        print(
            f"\n## {name}\n\n| method | segments | EV | ASA | UE | BR |\n|---|---|---|---|---|---|"
        )
        with tempfile.TemporaryDirectory() as folder:
            ours = Ours(image, Path(folder))
            for method, labels in segmentations(image, ours, asked.pixels):
                scores = judge(labels, image)
                shown = " | ".join(f"{figure:.3f}" for figure in scores[1:])
                print(f"| {method} | {scores.segments} | {shown} |", flush=True)
            if asked.turns:
                print_seconds(image, ours.subfolder("large"), asked.turns)


# --- images ---------------------------------------------------------------------------------------


def read_sentinel(data: Path) -> Image:
    pixels = read(data / "s2_l2a_openeo_sample" / "S2_L2A_sample.tif")[CROP]
    valid = np.asarray((pixels[:4] > 0).all(0))
    return Image(pixels[:4], valid, pixels[4], 0.1)


def read_chesapeake(data: Path) -> Image:
    stem = data / "chesapeake_md_multires" / "m_3907833_nw_17_1_"
    pixels = read(Path(f"{stem}naip-new.tif"))
    reference = read(Path(f"{stem}lc.tif"))[0]
    return Image(pixels, np.ones(pixels.shape[1:], bool), reference, 0.3)


def read_naip(data: Path) -> Image:
    pixels = read(data / "naip_nd_multiyear" / "m_4709963_se_14_1_20170827.tif")[CROP]
    return Image(pixels, np.asarray((pixels > 0).any(0)), None, 0.3)


def draw_demo(data: Path) -> Image:
    from segmentation.synthetic.landscape import Landscape

    landscape = Landscape(seed=0, height=4096, width=4096)
    pixels, truth = landscape.read(1000, 1200, 800, 800)
    return Image(pixels, np.asarray((pixels > 0).all(0)), truth, 0.3)


IMAGES: dict[str, Callable[[Path], Image]] = {
    "chesapeake": read_chesapeake,
    "demo": draw_demo,
    "sentinel": read_sentinel,
    "naip": read_naip,
}


def read(path: Path) -> Array:
    """`(band, y, x)` pixels of a file."""
    with rasterio.open(path) as raster:
        return np.asarray(raster.read())


# --- methods --------------------------------------------------------------------------------------


class Ours:
    """Partitions of an image, from a file of it as commands read it."""

    def __init__(self, image: Image, folder: Path) -> None:
        self.image, self.folder = image, folder
        pixels = np.where(image.valid, image.bands, 0)
        count, height, width = pixels.shape
        with rasterio.open(
            folder / "image.tif", "w", driver="GTiff", height=height, width=width, count=count,
            dtype=pixels.dtype, crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 5e6),
        ) as raster:  # fmt: skip
            raster.write(pixels)
        names = {name: number for number, name in enumerate(BANDS[:count], 1)}
        self.scene = open_scene(
            [str(folder / "image.tif")],
            bands=names,
            nodata=None if image.valid.all() else 0,
            mask="none",
        )
        self.used = 0

    def prepare(self, partition: Partition) -> tuple[Any, Surfaces]:
        """The partition, fitted, and its surfaces in a new folder."""
        bands = partition.bands(self.scene.band_names)
        fitted = partition.fit(self.scene.sample(bands))
        self.used += 1
        folder = self.subfolder(str(self.used))
        return fitted, Surfaces(self.scene, fitted, bands, folder)

    def subfolder(self, name: str) -> Path:
        """A new folder in that of the image."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    def segment(self, partition: Partition) -> Array:
        """The regions of its last level."""
        fitted, source = self.prepare(partition)
        *_, level = fitted.find(source, tile=TILE, map=map)
        return pixels_of(level.labels)


def segmentations(image: Image, ours: Ours, pixels: int) -> Iterator[tuple[str, Array]]:
    """Each method with its segments."""
    wanted = int(image.valid.sum()) // pixels
    yield "slic", segment_slic(image, wanted)
    yield "felzenszwalb", tune(segment_felzenszwalb(image, pixels), wanted, 1, 1e4)
    yield "superpixels", ours.segment(Superpixels(step=round(pixels**0.5)))
    for measure, most in (("volume", 1e9), ("dynamics", 1e6)):
        yield f"watershed by {measure}", tune(drown_by(ours, measure), wanted, 1, most)
    yield "objects", tune(merge_to(ours), wanted, 0.5, 100)


def segment_slic(image: Image, wanted: int) -> Array:
    from skimage.segmentation import slic

    return np.asarray(
        slic(
            standardise(image),
            n_segments=wanted,
            compactness=image.compactness,
            channel_axis=-1,
            convert2lab=False,
        )
    )


def segment_felzenszwalb(image: Image, pixels: int) -> Knob:
    from skimage.segmentation import felzenszwalb

    shown = standardise(image)
    return lambda scale: np.asarray(
        felzenszwalb(shown, scale=scale, sigma=0.8, min_size=pixels // 10, channel_axis=-1)
    )


def drown_by(ours: Ours, measure: Any) -> Knob:
    return lambda threshold: ours.segment(Watershed(measure=measure, threshold=round(threshold)))


def merge_to(ours: Ours) -> Knob:
    """Objects by scale, of superpixels that are made once."""
    fitted, source = ours.prepare(Objects())
    superpixels = fitted.find_superpixels(source, tile=TILE, map=map)

    def merge(scale: float) -> Array:
        limits = [merging for _, merging in ladder([scale])]
        folder = source.subfolder(f"scale-{scale}")
        weights = fitted.fitted.weights
        *_, labels = merge_levels(superpixels, source.values, weights, limits, folder)
        return pixels_of(labels)

    return merge


def tune(knob: Knob, wanted: int, low: float, high: float) -> Array:
    """The segmentation whose number of segments is closest to what is wanted, of those tried."""
    return find_setting(knob, wanted, low, high)[1]


def find_setting(
    knob: Knob, wanted: int, low: float, high: float, steps: int = 14
) -> tuple[float, Array]:
    """The setting of that segmentation, and its segments."""
    best, distance = (low, np.empty(0)), np.inf
    for _ in range(steps):
        middle = (low * high) ** 0.5
        labels = knob(middle)
        segments = np.unique(labels[labels >= 0]).size
        if abs(segments - wanted) < distance:
            best, distance = (middle, labels), abs(segments - wanted)
        if distance < 0.01 * wanted:
            break
        low, high = (middle, high) if segments > wanted else (low, middle)
    return best


def pixels_of(labels: LabelFiles) -> Array:
    """`(y, x)` ids of regions that lie in one tile."""
    from tiling.grid.window import Window

    return labels.read(Window.of_shape(*labels.shape)).pixels


def standardise(image: Image) -> Array:
    """`(y, x, band)` bands brought to mean 0 and deviation 1."""
    inside = image.bands[:, image.valid].astype(float)
    shift, scale = inside.mean(1)[:, None, None], inside.std(1)[:, None, None]
    return np.moveaxis((image.bands - shift) / scale, 0, -1)


# --- figures --------------------------------------------------------------------------------------


def judge(labels: Array, image: Image) -> Scores:
    """How good segments `(y, x)` are."""
    from scipy.ndimage import maximum_filter
    from scipy.sparse import coo_array

    valid = image.valid
    segment = np.unique(labels[valid], return_inverse=True)[1]
    sizes = np.bincount(segment)
    bands = np.moveaxis(standardise(image), -1, 0)[:, valid]
    within = sum((b**2).sum() - (np.bincount(segment, b) ** 2 / sizes).sum() for b in bands)
    explained = 1 - within / (bands**2).sum()
    if image.reference is None:
        return Scores(sizes.size, explained, np.nan, np.nan, np.nan)
    classes = np.unique(image.reference[valid], return_inverse=True)[1]
    shared = coo_array((np.ones(segment.size), (segment, classes))).tocsr().tocoo()
    most = np.zeros(sizes.size)
    np.maximum.at(most, shared.row, shared.data)
    beyond = np.minimum(shared.data, sizes[shared.row] - shared.data).sum()
    edges = mark_borders(np.where(valid, labels, -1)) & valid
    expected = mark_borders(np.where(valid, image.reference.astype(int), -1)) & valid
    return Scores(
        sizes.size,
        explained,
        most.sum() / segment.size,
        beyond / segment.size,
        maximum_filter(edges, 3)[expected].mean(),
    )


def mark_borders(labels: Array) -> Array:
    """`(y, x)` whether a pixel has a neighbour above, below or beside it of another label."""
    borders = np.zeros(labels.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        apart = labels[one] != labels[other]
        borders[one] |= apart
        borders[other] |= apart
    return borders


def print_seconds(image: Image, folder: Path, turns: int) -> None:
    """Processor time of our methods as a share of that of scikit-image's at equal numbers of
    segments: the median over turns, on the image mirrored to `SIDE` px squared, for what is looked
    at once in a scene should not weigh more than in a scene."""
    large = mirror(image)
    ours = Ours(large, folder)
    for name, peer, partition in (
        ("superpixels", "slic", Superpixels(step=6)),
        ("objects", "felzenszwalb", Objects()),
    ):
        segments = np.unique(ours.segment(partition)[large.valid]).size
        other: Callable[[], Any]
        if peer == "slic":
            other = partial(segment_slic, large, segments)
        else:
            # What suits the image suits it mirrored.
            wanted = segments * image.valid.size // large.valid.size
            pixels = large.valid.size // segments
            scale, _ = find_setting(segment_felzenszwalb(image, pixels), wanted, 1, 1e4)
            other = partial(segment_felzenszwalb(large, pixels), scale)
        one = partial(ours.segment, partition)
        times = np.array([[measure(one), measure(other)] for _ in range(turns)])
        mine, theirs = np.median(times, 0) / (large.valid.size * 1e-9)
        ratios = np.sort(times[:, 0] / times[:, 1])
        print(
            f"\n{name} {mine:.0f} ns, {peer} {theirs:.0f} ns for each pixel: "
            f"{np.median(ratios):.2f} of its time ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"{segments} segments"
        )


def mirror(image: Image) -> Image:
    """An image of `SIDE` px squared: it and its mirror images side by side."""

    def extend(pixels: Array) -> Array:
        height, width = pixels.shape[-2:]
        around = [(0, 0)] * (pixels.ndim - 2) + [(0, SIDE - height), (0, SIDE - width)]
        return np.pad(pixels, around, mode="symmetric")

    return image._replace(bands=extend(image.bands), valid=extend(image.valid), reference=None)


def measure(task: Callable[[], Any]) -> float:
    """Seconds of processor time."""
    start = time.process_time()
    task()
    return time.process_time() - start


if __name__ == "__main__":
    main()
