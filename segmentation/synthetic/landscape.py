"""A landscape that never was: Sentinel-2-like pixels with their true land cover, for demos, training and tests.

Rivers, lakes, fields, woods, heath, quarries, towns and roads at 10 m, drawn from hashes of absolute position. Every
value is a function of (seed, row, column) alone: any cut of the plane gives the same bytes, in the memory of what is
read. Inside, the plane is drawn in fixed blocks, so that the arithmetic behind a pixel is the same whoever asks; and
only correctly rounded operations decide a value (no FFT, no BLAS, no sine of an array), so that machines agree too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from segmentation.legend import LAND_COVER

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
"""Sentinel-2's B2, B3, B4, B8, B11 and B12, all on the 10 m grid."""

Floats = npt.NDArray[np.floating[Any]]  # float32, but for absolute coordinates
Hashes = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

WATER, TREES, CROPS, SPARSE, BARE, BUILT = LAND_COVER.values[:6]

_BLOCK = 256
"""Side of the squares that are drawn at once."""
_PAD = 4
"""How far a block draws beyond itself, so that the blur finds its neighbours."""
_STEP = 4
"""Smooth fields are evaluated on a lattice this coarse, then interpolated."""

# Surface reflectance × 10 000 of pure materials, in the order of BANDS: round numbers within the ranges that the
# ECOSTRESS spectral library (Meerdink et al. 2019) and Level-2A scenes of central Europe show.
_MATERIALS = {
    "clear water": (260, 270, 150, 75, 40, 28),
    "turbid water": (560, 800, 700, 300, 100, 65),
    "silty water": (760, 1060, 850, 300, 90, 60),
    "canopy shade": (110, 170, 110, 1050, 480, 210),
    "broadleaf": (210, 480, 240, 4150, 1850, 790),
    "conifer": (160, 300, 190, 2450, 950, 410),
    "scrub": (300, 550, 430, 2750, 1900, 1030),
    "green wheat": (270, 640, 310, 4700, 1800, 820),
    "maize": (200, 470, 210, 4050, 1650, 720),
    "rape": (380, 980, 700, 4500, 1950, 900),
    "meadow": (340, 740, 470, 3700, 2250, 1120),
    "ripe grain": (790, 1190, 1360, 2750, 3000, 2050),
    "stubble": (930, 1260, 1450, 2450, 3250, 2500),
    "dry grass": (560, 850, 940, 2150, 2550, 1750),
    "heather": (380, 560, 620, 1900, 2050, 1350),
    "dark soil": (600, 800, 980, 1500, 2200, 1850),
    "brown soil": (820, 1070, 1280, 1980, 2800, 2400),
    "pale soil": (1120, 1430, 1680, 2450, 3300, 2900),
    "gravel": (1350, 1650, 1850, 2300, 2800, 2500),
    "limestone": (2200, 2600, 2900, 3400, 3800, 3300),
    "rock": (1050, 1220, 1360, 1750, 2150, 1950),
    "asphalt": (860, 960, 1030, 1250, 1450, 1330),
    "tile roof": (880, 1080, 1480, 2100, 2450, 2200),
    "grey roof": (1120, 1250, 1340, 1620, 1850, 1700),
    "concrete": (1650, 1880, 2020, 2400, 2650, 2400),
    "metal roof": (2500, 2650, 2700, 3050, 2950, 2600),
}
_INDEX = {name: index for index, name in enumerate(_MATERIALS)}

# What parcels bear: share in percent, soil or litter below, canopy above, its mean cover and that one's spread, truth.
# From grassland to arable, so that a parish can lean to either end.
_CROPS = (
    (2, "brown soil", "scrub", 0.45, 0.20, SPARSE),
    (17, "dry grass", "meadow", 0.82, 0.16, CROPS),
    (9, "dry grass", "meadow", 0.50, 0.25, CROPS),
    (3, "pale soil", "dry grass", 0.60, 0.25, SPARSE),  # fallow
    (15, "brown soil", "maize", 0.78, 0.20, CROPS),
    (14, "brown soil", "green wheat", 0.88, 0.10, CROPS),
    (6, "dark soil", "rape", 0.90, 0.10, CROPS),
    (16, "brown soil", "ripe grain", 0.90, 0.10, CROPS),
    (8, "brown soil", "stubble", 0.75, 0.15, CROPS),
    (1, "pale soil", "gravel", 0.30, 0.20, BARE),
    (5, "dark soil", "brown soil", 0.30, 0.25, CROPS),  # ploughed: bare to a spectrometer, cropland to a farmer
    (4, "pale soil", "brown soil", 0.60, 0.25, CROPS),
)


@dataclass(frozen=True)
class Landscape:
    """An endless landscape; with a size, it has the slanted edge of an orbit: about 5 % of the scene is no data."""

    seed: int = 0
    height: int | None = None
    width: int | None = None

    def read(self, row: int, col: int, height: int, width: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Pixels `(6, height, width) uint16`, reflectance × 10 000, and truth `(height, width) uint8`; 0 = no data.

        Truth has the values 1–6 of `segmentation.legend.LAND_COVER`. `row` and `col` may be negative.
        """
        pixels = np.empty((len(BANDS), height, width), np.uint16)
        truth = np.empty((height, width), np.uint8)
        for top in range(row - row % _BLOCK, row + height, _BLOCK):
            for left in range(col - col % _BLOCK, col + width, _BLOCK):
                block_pixels, block_truth = _block(self.seed, top, left)
                r0, r1 = max(row, top), min(row + height, top + _BLOCK)
                c0, c1 = max(col, left), min(col + width, left + _BLOCK)
                there = slice(r0 - row, r1 - row), slice(c0 - col, c1 - col)
                here = slice(r0 - top, r1 - top), slice(c0 - left, c1 - left)
                truth[there] = block_truth[here]
                pixels[:, *there] = block_pixels[:, *here]
        if self.height and self.width:
            # The swath ends on a slanted line that leaves 8 % of the first row and 2 % of the last without data.
            rows = np.clip(np.arange(row, row + height), 0, self.height)[:, None]
            beyond = (self.width - np.arange(col, col + width)) * 100 * self.height
            outside = beyond <= self.width * (8 * self.height - 6 * rows)
            truth[outside] = 0
            pixels[:, outside] = 0
        return pixels, truth


def _key(seed: int, name: str) -> np.uint32:
    return np.uint32(crc32(f"{seed} {name}".encode()))


def _mix(bits: Hashes) -> Hashes:
    """An avalanche of 32 bits: a permutation in which each output bit depends on every input bit.

    The multipliers and shifts are Chris Wellons' "lowbias32" (https://nullprogram.com/blog/2018/07/31/).
    """
    bits = bits ^ (bits >> np.uint32(16))
    bits *= np.uint32(0x7FEB352D)
    bits ^= bits >> np.uint32(15)
    bits *= np.uint32(0x846CA68B)
    bits ^= bits >> np.uint32(16)
    return bits


def _hash(key: np.uint32 | Hashes, *coordinates: npt.NDArray[Any]) -> Hashes:
    """32 random bits for integer coordinates, broadcast against each other."""
    bits: Any = key
    for coordinate in coordinates:
        bits = _mix(coordinate.astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1) ^ bits)
    return bits


def _unit(bits: Hashes) -> Floats:
    """Random bits as numbers in [0, 1)."""
    return (bits >> 8).astype(np.float32) * 2**-24


def _again(bits: Hashes, salt: int) -> Floats:
    """Another number in [0, 1) from the same bits."""
    return _unit(_mix(bits ^ np.uint32(salt * 0x632BE5AB & 0xFFFFFFFF)))


def _ramp(values: Floats, low: float, high: float) -> Floats:
    """0 up to `low`, 1 from `high` on, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _taps(positions: npt.NDArray[np.float64], wavelength: float) -> tuple[npt.NDArray[np.int64], list[Floats]]:
    """The first of the four knots, `wavelength` apart, whose cubic B-splines reach a position, and their weights."""
    at = positions / wavelength
    knot = np.floor(at)
    t = (at - knot).astype(np.float32)
    s = 1 - t
    weights = [s * s * s, 3 * t * t * t - 6 * t * t + 4, 3 * s * s * s - 6 * s * s + 4, t * t * t]
    return knot.astype(np.int64) - 1, [weight / 6 for weight in weights]


def _blend(four: Iterable[Floats], weights: Iterable[Floats]) -> Floats:
    a, b, c, d = (values * weight for values, weight in zip(four, weights, strict=True))
    return a + b + c + d


# A cubic B-spline smooths uniform numbers to 151/315 of their variance per axis; these factors give spread 1 back.
_ALONG_A_LINE, _IN_THE_PLANE = 5.0, 7.226


def _wave(bits: Hashes, positions: npt.NDArray[np.float64], wavelength: float) -> Floats:
    """Smooth noise along a line, of mean 0 and spread 1; another line for each value of `bits`."""
    knot, weights = _taps(positions, wavelength)
    return _blend((_unit(_hash(bits, knot + t)) - 0.5 for t in range(4)), weights) * _ALONG_A_LINE


class _Cells(NamedTuple):
    """The square cells of a jittered grid around a block, one centre in each; flat arrays."""

    bits: Hashes
    """Hash of the cell: its name."""
    i: npt.NDArray[np.int64]
    j: npt.NDArray[np.int64]
    y: Floats
    """The centre, in pixels from the block's corner."""
    x: Floats


class _Nearest(NamedTuple):
    """For every point asked, the centre nearest to it and the runner-up, as indices into the cells."""

    cells: _Cells
    at: Indices
    gap: Floats
    """Distance to the centre less its radius."""
    next_at: Indices
    next_gap: Floats


class _Canvas:
    """One block and its margin while it is drawn: fields on the coarse lattice, layers of material on the pixels."""

    def __init__(self, seed: int, row: int, col: int) -> None:
        self.seed, self.row, self.col = seed, row - _PAD, col - _PAD
        self.size = _BLOCK + 2 * _PAD
        self.knots = np.arange(0, self.size + _STEP, _STEP)
        self.y = (self.row + self.knots).astype(np.float64)
        self.x = (self.col + self.knots).astype(np.float64)
        pixels = np.arange(self.size)
        rows = _hash(_key(seed, "pixel row"), self.row + pixels)
        cols = _hash(_key(seed, "pixel column"), self.col + pixels)
        self.grain = rows[:, None] ^ cols[None, :]
        shape = self.size, self.size
        self.truth = np.full(shape, CROPS, np.uint8)
        self.below = np.zeros(shape, np.uint8)
        self.above = np.zeros(shape, np.uint8)
        self.cover = np.zeros(shape, np.float32)
        self.gain = np.ones(shape, np.float32)

    # Fields, smooth and rough.

    def noise(self, name: str, wavelength: float, octaves: int = 1, gain: float = 0.55) -> Floats:
        """Smooth noise on the coarse lattice, spread about 1, from `wavelength` pixels down by octaves."""
        total, power, strength = np.zeros((self.knots.size, self.knots.size), np.float32), 0.0, 1.0
        for octave in range(octaves):
            i, down = _taps(self.y, wavelength / 2**octave)
            j, across = _taps(self.x, wavelength / 2**octave)
            rows, cols = np.arange(i[0], i[-1] + 4), np.arange(j[0], j[-1] + 4)
            random = _unit(_hash(_key(self.seed, f"{name} {octave}"), rows[:, None], cols)) - 0.5
            half = _blend((random[i - i[0] + t] for t in range(4)), (weight[:, None] for weight in down))
            total += _blend((half[:, j - j[0] + t] for t in range(4)), across) * strength
            power += strength * strength
            strength *= gain
        return total * (_IN_THE_PLANE / math.sqrt(power))

    def fine(self, coarse: Floats) -> Floats:
        """A coarse field on every pixel, by linear interpolation."""
        return _interpolate(coarse, _STEP)

    def blocky(self, coarse: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A coarse field on every pixel, without interpolation."""
        return coarse[:-1, :-1].repeat(_STEP, 0).repeat(_STEP, 1)

    def speckle(self, salt: int) -> Floats:
        """White noise on every pixel in [0, 1)."""
        return _again(self.grain, salt)

    def clumps(self, name: str) -> Floats:
        """Noise of crown and bush size, two pixels wide, in [0, 1)."""
        knots = np.arange(0, self.size + 2, 2)
        random = _hash(_key(self.seed, name), (self.row + knots)[:, None] >> 1, (self.col + knots) >> 1)
        return _interpolate(_unit(random), 2)

    def nearest(
        self,
        name: str,
        spacing: int,
        y: Floats,
        x: Floats,
        radius: Callable[[Hashes], Floats] | None = None,
        jitter: float = 0.8,
    ) -> _Nearest:
        """The centre whose disc is nearest to each point, of one centre in each cell of a square grid.

        Points are in pixels from the block's corner; only the 3 × 3 cells around a point are looked at.
        """
        (i0, y0), (j0, x0) = divmod(self.row, spacing), divmod(self.col, spacing)
        i, j = (np.floor((v + o) / spacing).astype(np.intp) for v, o in ((y, y0), (x, x0)))
        low_i, low_j = int(i.min()) - 1, int(j.min()) - 1
        cells = self.cells(
            name, spacing, jitter, i0 + np.arange(low_i, i.max() + 2), j0 + np.arange(low_j, j.max() + 2)
        )
        stride = int(j.max()) + 2 - low_j
        cell = (i - low_i) * stride + (j - low_j)
        radii = radius(cells.bits) if radius else np.zeros(cells.bits.shape, np.float32)
        best = second = np.full(y.shape, np.inf, np.float32)
        first_at = second_at = cell
        for step in [a * stride + b for a in (-1, 0, 1) for b in (-1, 0, 1)]:
            at = cell + step
            dy, dx = y - cells.y.take(at), x - cells.x.take(at)
            gap = np.sqrt(dy * dy + dx * dx)
            if radius:
                gap -= radii.take(at)
            closer = gap < best
            runner = gap < second
            second = np.where(closer, best, np.minimum(gap, second))
            second_at = np.where(closer, first_at, np.where(runner, at, second_at))
            best = np.minimum(best, gap)
            first_at = np.where(closer, at, first_at)
        return _Nearest(cells, first_at, best, second_at, second)

    def sharpen(self, nearest: _Nearest, y: Floats, x: Floats) -> _Nearest:
        """Nearest centres found on the coarse lattice, on every pixel: the nearer of the two that its knot knows.

        So lines between two cells are straight, and only next to where three meet may the third lose a pixel.
        """
        cells = nearest.cells
        first, second = self.blocky(nearest.at), self.blocky(nearest.next_at)
        near, far = (np.sqrt((y - cells.y.take(at)) ** 2 + (x - cells.x.take(at)) ** 2) for at in (first, second))
        swap = far < near
        return _Nearest(
            cells,
            np.where(swap, second, first),
            np.minimum(near, far),
            np.where(swap, first, second),
            np.maximum(near, far),
        )

    def cells(
        self, name: str, spacing: int, jitter: float, i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]
    ) -> _Cells:
        """The cells in rows `i` and columns `j` of a grid with cells of `spacing` pixels."""
        bits = _hash(_key(self.seed, name), i[:, None], j)
        margin = 0.5 - jitter / 2
        y = (i[:, None] + (margin + jitter * _again(bits, 1).astype(np.float64))) * spacing - self.row
        x = (j + (margin + jitter * _again(bits, 2).astype(np.float64))) * spacing - self.col
        rows, cols = np.broadcast_arrays(i[:, None], j)
        return _Cells(
            bits.ravel(), rows.ravel(), cols.ravel(), y.astype(np.float32).ravel(), x.astype(np.float32).ravel()
        )

    # Layers of material.

    def lay(
        self,
        where: Mask,
        truth: int | None,
        below: str | npt.NDArray[np.uint8],
        above: str | npt.NDArray[np.uint8],
        cover: float | Floats,
        gain: float | Floats = 1.0,
    ) -> None:
        """Put material where `where`: `cover` is the share of `above`, the rest shows `below`."""
        if truth is not None:
            np.copyto(self.truth, np.uint8(truth), where=where)
        for layer, material in ((self.below, below), (self.above, above)):
            value = np.uint8(_INDEX[material]) if isinstance(material, str) else material
            np.copyto(layer, value, where=where)
        np.copyto(self.cover, np.asarray(cover, np.float32), where=where)
        np.copyto(self.gain, np.asarray(gain, np.float32), where=where)


def _interpolate(coarse: Floats, step: int) -> Floats:
    """`(n + 1, m + 1)` knots -> `(n · step, m · step)` values, linear between."""
    n, m = coarse.shape[0] - 1, coarse.shape[1] - 1
    shares = [t / step for t in range(step)]
    wide = np.stack([coarse[:, :-1] * (1 - t) + coarse[:, 1:] * t for t in shares], 2).reshape(n + 1, m * step)
    full = np.empty((n, step, m * step), np.float32)
    for t, share in enumerate(shares):
        np.add(wide[:-1] * (1 - share), wide[1:] * share, out=full[:, t])
    return full.reshape(n * step, m * step)


@lru_cache(maxsize=32)
def _block(seed: int, row: int, col: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """The block at `row`, `col`, multiples of the block's side: painted from the ground up, then sensed."""
    canvas = _Canvas(seed, row, col)
    ground = _Ground(canvas)
    parcel = _farms(canvas, ground)
    _woods(canvas, ground, parcel)
    _heath(canvas, ground)
    _pits(canvas, ground)
    _rivers(canvas, ground)
    _towns(canvas, ground)
    _roads(canvas, ground)
    _lakes(canvas, ground)  # after the roads: only rivers are bridged
    inner = slice(_PAD, _PAD + _BLOCK)
    pixels, truth = _sense(canvas, ground), np.ascontiguousarray(canvas.truth[inner, inner])
    pixels.flags.writeable = truth.flags.writeable = False  # shared by all who ask
    return pixels, truth


class _Ground:
    """What lies under the land cover: relief, watercourses, soils, and where towns are; coarse fields."""

    def __init__(self, canvas: _Canvas) -> None:
        # Coordinates in which farms, streets and roads are straight, in pixels from the block's corner.
        self.y = canvas.knots.astype(np.float32)[:, None] + canvas.noise("bend y", 330, 3, 0.3) * 20
        self.x = canvas.knots.astype(np.float32)[None, :] + canvas.noise("bend x", 330, 3, 0.3) * 20
        self.bank, self.valley, self.beside_brook, self.brook = _watercourses(canvas)
        rise = _ramp(self.valley, 0, 550)
        self.height = canvas.noise("hills", 900, 5, 0.52) + 1.3 * rise - 0.8
        south, east = np.gradient(self.height)
        lie = _ramp(self.height, -0.8, 0.8)
        self.shade = np.clip((east * 0.8 + south) * 2.6, -0.35, 0.35) * lie
        self.moisture = canvas.noise("moisture", 230, 4, 0.6)
        self.vigour = canvas.noise("vigour", 90, 4, 0.65)
        self.town = canvas.nearest("town", _TOWNS_APART, self.y, self.x, _town_radius, _TOWN_JITTER)


def _watercourses(canvas: _Canvas) -> tuple[Floats, Floats, Floats, Floats]:
    """How far inside the banks of the nearest watercourse (negative outside), how far from a main river; and, since a
    brook is narrower than the coarse lattice, the distance from the nearest, signed by its side, and half its width.

    Rivers run abreast in coordinates that wander; tributaries come down both sides, meet them at an acute angle and
    thin out towards the divide.
    """
    seed, apart = canvas.seed, 1450.0
    angle = 0.15 + 0.7 * float(_unit(_hash(_key(seed, "flow"), np.zeros(1)))[0])
    cos, sin = round(math.cos(angle), 6), round(math.sin(angle), 6)
    y = canvas.y[:, None] + canvas.noise("meander y", 420) * 58.0 + canvas.noise("loop y", 130, 2, 0.35) * 21.0
    x = canvas.x[None, :] + canvas.noise("meander x", 420) * 58.0 + canvas.noise("loop x", 130, 2, 0.35) * 21.0
    along, across = x * cos + y * sin, y * cos - x * sin
    slope = _steepness(along)
    swell = 1 + 0.25 * canvas.noise("swell", 150)
    bank = np.full(x.shape, -np.inf, np.float32)
    valley = np.full(x.shape, np.inf, np.float32)
    beside, width, nearest = (np.full(x.shape, value, np.float32) for value in (99, 0, -99))
    for k in range(math.floor(across.min() / apart) - 1, math.floor(across.max() / apart) + 2):
        river = _hash(_key(seed, "river"), np.full(1, k))
        offset = across - (k + 0.5) * apart - _wave(river, along, 1300) * 180.0
        away = np.abs(offset)
        half_width = (4.5 + 6 * _again(river, 1)) * swell
        bank = np.maximum(bank, half_width - (away / _steepness(offset)).astype(np.float32))
        valley = np.minimum(valley, away.astype(np.float32))
        place = (along + 0.55 * away) / 520
        number = np.floor(place)
        brook = _hash(river, np.sign(offset), number)
        middle = number + 0.5 + 0.3 * (_again(brook, 1) - 0.5)
        stray = (place - middle) * 520 - _wave(brook, away, 240) * 26.0
        reach = apart * (0.18 + 0.27 * _again(brook, 2))
        half_width = (1.0 + 2.6 * _again(brook, 3)) * (1 - away / reach)
        half_width = np.where(half_width > 0, np.maximum(half_width, 0.75), -50).astype(np.float32)
        stray = (stray / slope).astype(np.float32)
        inside = half_width - np.abs(stray)
        closer = inside > nearest
        beside, width = np.where(closer, stray, beside), np.where(closer, half_width, width)
        nearest = np.maximum(nearest, inside)
    return np.maximum(bank, nearest), valley, beside, width


def _steepness(field: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Change of a coarse field per pixel, never below a half: turns a difference into a distance."""
    down, across = np.gradient(field, _STEP)
    return np.maximum(np.sqrt(down * down + across * across), 0.5)


def _rotation(t: Floats) -> tuple[Floats, Floats]:
    """Cosine and sine of the angle whose half has the tangent `t`, without any library's cosine."""
    scale = 1 / (1 + t * t)
    return (1 - t * t) * scale, 2 * t * scale


def _pick(names: tuple[str, ...], chance: Floats) -> npt.NDArray[np.uint8]:
    """One of the materials named, by a number in [0, 1)."""
    table = np.array([_INDEX[name] for name in names], np.uint8)
    return table.take((chance * np.float32(len(names))).astype(np.uint8))


_CROP_OF = np.repeat(np.arange(len(_CROPS), dtype=np.uint8), [crop[0] for crop in _CROPS])
_CROP_BELOW = np.array([_INDEX[crop[1]] for crop in _CROPS], np.uint8)
_CROP_ABOVE = np.array([_INDEX[crop[2]] for crop in _CROPS], np.uint8)
_CROP_COVER = np.array([crop[3] for crop in _CROPS], np.float32)
_CROP_SPREAD = np.array([crop[4] for crop in _CROPS], np.float32)
_CROP_TRUTH = np.array([crop[5] for crop in _CROPS], np.uint8)


def _farms(canvas: _Canvas, ground: _Ground) -> Hashes:
    """Farms, cut into strips and the strips into parcels, with hedges, tracks and farmsteads; the hash of each parcel.

    The farms of a parish share the direction and the size of their fields, and what they live on.
    """
    y, x = canvas.fine(ground.y), canvas.fine(ground.x)
    farm = canvas.sharpen(canvas.nearest("farm", 112, ground.y, ground.x), y, x)
    bits, at = farm.cells.bits, farm.at
    parish = _hash(_key(canvas.seed, "parish"), farm.cells.i // 3, farm.cells.j // 3)
    turn = (_again(parish, 1) - 0.5) * 1.7 + (_again(bits, 3) - 0.5) * 0.3
    cos, sin = _rotation(turn)
    wide = (7 + 14 * _again(parish, 2)) * (0.7 + 0.7 * _again(bits, 4))
    long = (20 + 30 * _again(parish, 3)) * (0.7 + 0.7 * _again(bits, 5))
    county = _hash(_key(canvas.seed, "county"), farm.cells.i // 9, farm.cells.j // 9)
    arable = _again(parish, 4) + 0.8 * _again(county, 1) - 0.9
    dy, dx = y - farm.cells.y.take(at), x - farm.cells.x.take(at)
    along, across = dx * cos.take(at) + dy * sin.take(at), dy * cos.take(at) - dx * sin.take(at)
    name = bits.take(at)
    v = across * (1 / wide).take(at)
    i = np.floor(v)
    i -= v - i < 0.7 * _unit(_hash(name, i))
    strip = _hash(name, i)
    u = along * (1 / long).take(at) * (0.7 + _again(strip, 6)) + _again(strip, 7)
    parcel = _hash(strip, np.floor(u))
    chance = _again(parcel, 8)
    chance += arable.take(at) * chance * (1 - chance)
    crop = _CROP_OF.take((chance * 100).astype(np.uint8))
    rows = _unit(_hash(parcel, np.floor(across * 0.6))) - 0.5
    vary = (_again(parcel, 9) - 0.5) * 2 + canvas.fine(ground.vigour) * 0.55 + rows * 0.4
    canvas.truth = _CROP_TRUTH.take(crop)
    canvas.below, canvas.above = _CROP_BELOW.take(crop), _CROP_ABOVE.take(crop)
    canvas.cover = np.clip(_CROP_COVER.take(crop) + _CROP_SPREAD.take(crop) * vary, 0, 1)
    canvas.gain = 0.85 + 0.3 * _again(parcel, 10) - 0.05 * canvas.fine(ground.moisture)
    clump, grain = canvas.clumps("hedge"), canvas.speckle(13)
    copse = _again(parcel, 14) < 0.025
    canvas.lay(copse, TREES, "canopy shade", "broadleaf", 0.45 + 0.3 * clump + 0.2 * grain)
    # Between farms: a hedge, a track or nothing, the same from both sides.
    edge = (farm.next_gap - farm.gap) * 0.5
    kind = _again(name ^ bits.take(farm.next_at), 11)
    canvas.lay((edge < 0.6) & (kind > 0.55), None, "gravel", "dry grass", 0.35)
    hedge = (kind < 0.3) & (edge < 0.2 + clump)
    canvas.lay(hedge, TREES, "canopy shade", "broadleaf", 0.5 + 0.4 * clump)
    # A farmstead among its trees.
    yard = (5 * _again(bits, 12) - 1.8).take(at) - farm.gap + clump * 2
    canvas.lay((yard > -3) & (clump > 0.6), TREES, "canopy shade", "broadleaf", 0.8)
    canvas.lay(yard > 1, BUILT, _pick(("tile roof", "grey roof", "gravel", "asphalt"), grain), "meadow", grain * 0.6)
    return parcel


def _woods(canvas: _Canvas, ground: _Ground, parcel: Hashes) -> None:
    """Woods on hills and along water, in stands that follow the parcels; some have been felled."""
    town = _ramp(ground.town.gap + canvas.noise("outskirts", 120, 3) * 26, 0, 70)
    wet = np.clip(1 + ground.bank / 14, 0, 1) * 0.8
    field = canvas.noise("woods", 280, 5, 0.62) + 0.7 * ground.height + wet + town * 2 - 2
    if float(field.max()) < -0.4:
        return
    owner = _again(parcel, 20)
    clump, grain = canvas.clumps("crowns"), canvas.speckle(21)
    ragged = (owner - 0.5) * 0.35 + (grain - 0.5) * 0.1
    inside = canvas.fine(field) > ragged - 0.15
    stand = canvas.fine(canvas.noise("stand", 140, 2) + ground.height * 0.8) + owner * 0.7
    needles = stand + (clump - 0.5) * 0.6 > 1.05
    crown = np.where(needles, np.uint8(_INDEX["conifer"]), np.uint8(_INDEX["broadleaf"]))
    canopy = canvas.fine(canvas.noise("canopy", 36, 3, 0.7)) * 0.13
    thick = 0.42 + 0.3 * clump + 0.2 * grain + canopy + owner * 0.12
    canvas.lay(inside, TREES, "canopy shade", crown, np.clip(thick, 0, 1), 0.85 + 0.3 * owner)
    felled = inside & (_again(parcel, 22) < 0.03)
    canvas.lay(felled, SPARSE, "brown soil", "dry grass", 0.3 + 0.6 * clump)


def _heath(canvas: _Canvas, ground: _Ground) -> None:
    """Heather and dry grass on the heights, with scrub in patches and rock where the soil is gone."""
    town = _ramp(ground.town.gap, 0, 60)
    field = canvas.noise("heath", 210, 5, 0.62) + ground.height + town * 3 - 3
    if float(field.max()) < 1.25:
        return
    clump, grain = canvas.clumps("tussocks"), canvas.speckle(23)
    heath = canvas.fine(field)
    wild = heath > 1.4 + (grain - 0.5) * 0.25
    patch = canvas.fine(canvas.noise("patch", 30, 3, 0.7)) * 0.22 + (clump - 0.5) * 0.4
    moor = canvas.fine(canvas.noise("moor", 90, 3)) > (clump - 0.5)
    plants = np.where(moor, np.uint8(_INDEX["heather"]), np.uint8(_INDEX["dry grass"]))
    canvas.lay(wild, SPARSE, "brown soil", plants, np.clip(0.7 + patch, 0, 1))
    canvas.lay(wild & (patch > 0.34), TREES, "heather", "scrub", 0.85)
    bald = canvas.fine(canvas.noise("bald", 60, 4, 0.8)) + (heath - 1.4) * 0.4
    canvas.lay(wild & (bald + patch > 1.6), BARE, "rock", "pale soil", np.clip(0.3 + patch * 2, 0, 1))


def _pits(canvas: _Canvas, ground: _Ground) -> None:
    """Quarries in pale stone and gravel pits, some with water at the bottom."""
    pit = canvas.nearest("pit", 380, ground.y, ground.x, lambda bits: 24 * _again(bits, 3) - 6)
    field = canvas.noise("benches", 30, 2) * 4 - pit.gap
    if float(field.max()) < 0:
        return
    depth, clump = canvas.fine(field), canvas.clumps("heaps")
    pale = canvas.blocky(_again(pit.cells.bits, 4).take(pit.at)) > 0.6
    stone = np.where(pale, np.uint8(_INDEX["limestone"]), np.uint8(_INDEX["gravel"]))
    dug = depth > 0
    share = np.clip(depth * 0.07 + clump * 0.3, 0, 1)
    canvas.lay(dug, BARE, "pale soil", stone, share, 0.8 + 0.3 * clump)
    canvas.lay(dug & ~pale & (depth > 10), WATER, "clear water", "silty water", 0.7)


def _rivers(canvas: _Canvas, ground: _Ground) -> None:
    """Water between its banks, gravel bars in the broad rivers, trees beside."""
    if float(ground.bank.max()) < -45:
        return
    bank, main = canvas.fine(ground.bank), canvas.fine(ground.valley) < 40
    clump, grain = canvas.clumps("riparian"), canvas.speckle(24)
    strip = np.clip(canvas.noise("gallery", 110, 4, 0.65), -0.5, 1.5) * _ramp(-ground.valley, -260, -60) * 16 + 3
    wooded = bank > -canvas.fine(strip) - 3 * clump
    canvas.lay(wooded, TREES, "canopy shade", "broadleaf", 0.45 + 0.3 * clump + 0.2 * grain)
    bars = canvas.fine(canvas.noise("bars", 44, 2))
    shoal = np.clip(bars - 0.5, 0, 1) * 3
    canvas.lay(main & (bank > -1) & (shoal > 0), BARE, "gravel", "pale soil", 0.4 * clump)
    silt = np.clip(0.55 + canvas.fine(canvas.noise("silt", 900)) * 0.25 + grain * 0.1, 0, 1)
    brook = (np.abs(canvas.fine(ground.beside_brook)) < canvas.fine(ground.brook)) & (bank > -5)
    canvas.lay(brook | (np.where(main, bank - shoal, bank) > 0), WATER, "clear water", "silty water", silt)


def _lakes(canvas: _Canvas, ground: _Ground) -> None:
    """Lakes and ponds, shallow and reedy at the shore."""

    def radius(bits: Hashes) -> Floats:
        size = _again(bits, 3)
        return 95 * size * size * size - 4

    lake = canvas.nearest("lake", 520, ground.y, ground.x, radius)
    size = radius(lake.cells.bits).take(lake.at)
    field = -lake.gap + canvas.noise("shore", 70, 4, 0.6) * 0.3 * np.clip(size, 2, 40)
    if float(field.max()) < -4:
        return
    depth, clump = canvas.fine(field), canvas.clumps("reeds")
    shallow = 1 - _ramp(depth, 0, 10)
    tint = canvas.blocky(_again(lake.cells.bits, 5).take(lake.at)) * 0.45
    canvas.lay((depth > -4) & (clump > 0.45), TREES, "canopy shade", "scrub", 0.8)
    water = np.clip(tint + shallow * 0.4 + clump * 0.06, 0, 1)
    canvas.lay(depth > 0, WATER, "clear water", "turbid water", water)


_TOWNS_APART = 480
_TOWN_JITTER = 0.6


def _town_radius(bits: Hashes) -> Floats:
    """Most are villages, some are towns, one in twelve is a city."""
    size = _again(bits, 3)
    square = size * size
    return 12 + 70 * square * size + np.where(size > 0.92, np.float32(75), np.float32(0))


def _towns(canvas: _Canvas, ground: _Ground) -> None:
    """Streets around a centre: dense blocks within, gardens and works towards the edge, parks between."""
    town = ground.town
    radius = _town_radius(town.cells.bits).take(town.at)
    field = canvas.noise("sprawl", 60, 4, 0.65) * (0.3 * radius + 2) - town.gap
    if float(field.max()) < -30:
        return
    inside = canvas.fine(field)
    quarter = canvas.fine(canvas.noise("quarter", 44, 2))
    sway = canvas.fine(canvas.noise("street", 70)) * 2.5
    at = canvas.blocky(town.at)
    cos, sin = _rotation(_again(town.cells.bits, 6) * 2 - 1)
    dy, dx = canvas.fine(ground.y) - town.cells.y.take(at), canvas.fine(ground.x) - town.cells.x.take(at)
    u = (dx * cos.take(at) + dy * sin.take(at) + sway) / 9
    v = (dy * cos.take(at) - dx * sin.take(at) - sway) / 13
    i, j = np.floor(u), np.floor(v)
    square = _hash(town.cells.bits.take(at), i, j)
    dry = canvas.truth != WATER
    built = dry & (inside + (_again(square, 7) - 0.5) * 16 > 2)
    grain, house = canvas.speckle(31), canvas.speckle(32)
    site = dry & (inside > -25) & ~built & (_again(square, 12) > 0.95)
    canvas.lay(site, BARE, "brown soil", "pale soil", house, 0.85 + 0.3 * grain)
    if not built.any():
        return
    central = np.clip(inside / np.maximum(canvas.blocky(radius), 30), 0, 1)
    dense = central + 0.3 * _again(square, 8) + 0.12 * quarter - 0.15
    roof = _pick(("tile roof", "tile roof", "grey roof", "asphalt"), canvas.speckle(33))
    garden = _pick(("meadow", "meadow", "broadleaf", "dry grass"), _again(square, 10))
    green = 0.66 - 0.5 * dense + (house - 0.5) * 0.5
    canvas.lay(built, BUILT, roof, garden, np.clip(green, 0, 1), 0.7 + 0.25 * grain + 0.25 * _again(square, 16))
    use = _again(square, 9)
    hall = _hash(square, np.floor(u * 2), np.floor(v * 2))
    works = built & (use + 0.1 * quarter > 0.95) & (central < 0.6)
    big = _pick(
        ("metal roof", "concrete", "grey roof", "grey roof", "asphalt", "asphalt", "tile roof"), _again(hall, 11)
    )
    canvas.lay(works, BUILT, "asphalt", big, 0.7 + 0.2 * grain)
    park = built & (use < 0.08)
    canvas.lay(park, CROPS, "dry grass", "meadow", 0.5 + 0.5 * house)
    grove = park & (canvas.clumps("park") > 0.5)
    canvas.lay(grove, TREES, "canopy shade", "broadleaf", 0.6 + 0.3 * house)
    street = built & ~park & ((u - i < 0.11) | (v - j < 0.08))
    canvas.lay(street, BUILT, "asphalt", "meadow", 0.35 * house)


def _roads(canvas: _Canvas, ground: _Ground) -> None:
    """Roads from town to town, and a motorway along every fourth row of towns."""
    low_i, low_j = canvas.row // _TOWNS_APART - 2, canvas.col // _TOWNS_APART - 2
    towns = canvas.cells("town", _TOWNS_APART, _TOWN_JITTER, low_i + np.arange(6), low_j + np.arange(6))
    ys, xs = towns.y.tolist(), towns.x.tolist()
    across, down, slanting = (_again(towns.bits, salt).tolist() for salt in (13, 14, 15))
    reach = 90  # how far the bends carry a road from the straight line
    y = x = None
    for a in [6 * i + j for i in range(5) for j in range(5)]:
        motorway = (low_i + a // 6) % 4 == 0
        for b, chance, wanted in (
            (a + 1, across[a], 1.0 if motorway else 0.75),
            (a + 6, down[a], 0.75),
            (a + 7, slanting[a], 0.2),
        ):
            rows, cols = sorted((ys[a], ys[b])), sorted((xs[a], xs[b]))
            near = all(low < canvas.size + reach and high > -reach for low, high in (rows, cols))
            if not near or chance > wanted:
                continue
            if y is None or x is None:
                y, x = canvas.fine(ground.y), canvas.fine(ground.x)
            half = 1.7 if motorway and b == a + 1 else 1.0 if chance < 0.3 else 0.6
            length = math.sqrt((ys[b] - ys[a]) ** 2 + (xs[b] - xs[a]) ** 2)
            uy, ux = (ys[b] - ys[a]) / length, (xs[b] - xs[a]) / length
            dy, dx = y - ys[a], x - xs[a]
            along = dy * uy + dx * ux
            on = (np.abs(dy * ux - dx * uy) < half) & (along > 0) & (along < length)
            canvas.lay(on, BUILT, "asphalt", "concrete" if half > 1 else "dry grass", 0.2)


# How moisture and vigour move each band, as a share of its reflectance; haze and noise in units of a pixel.
_BY_MOISTURE = (-0.02, -0.02, -0.05, 0.00, -0.08, -0.10)
_BY_VIGOUR = (-0.02, 0.01, -0.06, 0.06, -0.02, -0.04)
_HAZE = (75, 45, 26, 12, 6, 4)
_NOISE = (22, 22, 24, 40, 34, 30)


def _sense(canvas: _Canvas, ground: _Ground) -> npt.NDArray[np.uint16]:
    """What the sensor sees: mixed spectra under relief and haze, blurred by the optics, with noise, rounded."""
    inner = slice(_PAD, _PAD + _BLOCK)
    spectra = _spectra(canvas.seed)
    dry = (canvas.truth != WATER).astype(np.float32)
    gain = canvas.gain * (1 + canvas.fine(ground.shade) * dry)
    moisture, vigour = (canvas.fine(np.clip(field, -2, 2)) * dry for field in (ground.moisture, ground.vigour))
    haze = 1 + 0.25 * canvas.fine(canvas.noise("haze", 1800, 2))
    pixels = np.empty((len(BANDS), _BLOCK, _BLOCK), np.uint16)
    below, above = canvas.below.astype(np.intp), canvas.above.astype(np.intp)
    top = canvas.cover * gain
    bottom = gain - top
    for band in range(len(BANDS)):
        clean = spectra[band].take(below) * bottom + spectra[band].take(above) * top
        clean *= 1 + moisture * _BY_MOISTURE[band] + vigour * _BY_VIGOUR[band]
        clean += haze * _HAZE[band]
        seen = _blur(clean)
        bits = _mix(canvas.grain[inner, inner] ^ np.uint32(band + 1))
        noise = ((bits & 0xFFFF).astype(np.float32) - (bits >> 16).astype(np.float32)) * 2**-16
        value = seen + noise * (_NOISE[band] + seen * 0.012)
        pixels[band] = np.clip(value + 0.5, 1, 12000).astype(np.uint16)
    return pixels


def _spectra(seed: int) -> Floats:
    """`(band, material)`: another seed is another year, every material a little different."""
    spectra = np.array(list(_MATERIALS.values()), np.float32).T
    year = _hash(_key(seed, "year"), np.arange(spectra.shape[0])[:, None], np.arange(spectra.shape[1]))
    return np.ascontiguousarray(spectra * (1 + 0.1 * (_unit(year) - 0.5)))


def _blur(image: Floats) -> Floats:
    """The sensor's point spread, a Gaussian of 0.69 px, on a block without its margin."""
    image = image[_PAD - 1 : 1 - _PAD]
    image = image[1:-1] * 0.52 + (image[:-2] + image[2:]) * 0.24
    image = image[:, _PAD - 1 : 1 - _PAD]
    return image[:, 1:-1] * 0.52 + (image[:, :-2] + image[:, 2:]) * 0.24
