"""What lies where: ground and rivers, farms and woods, towns and roads."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from segmentation.synthetic.canvas import Canvas
from segmentation.synthetic.materials import BARE, BUILT, CROPS, INDEX, SPARSE, STEP, TREES, WATER
from segmentation.synthetic.noise import Floats, Hashes, again, hash, key, ramp, unit, wave

# What parcels bear: share in percent, soil or litter below, canopy above, its mean cover and that
# one's spread, truth. From grassland to arable, so that a parish can lean to either end.
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
    (
        5,
        "dark soil",
        "brown soil",
        0.30,
        0.25,
        CROPS,
    ),  # ploughed: bare to a spectrometer, cropland to a farmer
    (4, "pale soil", "brown soil", 0.60, 0.25, CROPS),
)


class Ground:
    """What lies under the land cover: relief, watercourses, soils, and where towns are; coarse
    fields."""

    def __init__(self, canvas: Canvas) -> None:
        # Coordinates in which farms, streets and roads are straight, in pixels from the block's
        # corner.
        self.y = canvas.knots.astype(np.float32)[:, None] + canvas.noise("bend y", 330, 3, 0.3) * 20
        self.x = canvas.knots.astype(np.float32)[None, :] + canvas.noise("bend x", 330, 3, 0.3) * 20
        self.bank, self.valley, self.beside_brook, self.brook = _watercourses(canvas)
        rise = ramp(self.valley, 0, 550)
        self.height = canvas.noise("hills", 900, 5, 0.52) + 1.3 * rise - 0.8
        south, east = np.gradient(self.height)
        lie = ramp(self.height, -0.8, 0.8)
        self.shade = np.clip((east * 0.8 + south) * 2.6, -0.35, 0.35) * lie
        self.moisture = canvas.noise("moisture", 230, 4, 0.6)
        self.vigour = canvas.noise("vigour", 90, 4, 0.65)
        self.town = canvas.nearest("town", _TOWNS_APART, self.y, self.x, _town_radius, _TOWN_JITTER)


def _watercourses(canvas: Canvas) -> tuple[Floats, Floats, Floats, Floats]:
    """How far inside the banks of the nearest watercourse (negative outside), how far from a main
    river; and, since a brook is narrower than the coarse lattice, the distance from the nearest,
    signed by its side, and half its width.

    Rivers run abreast in coordinates that wander; tributaries come down both sides, meet them at an
    acute angle and thin out towards the divide.
    """
    seed, apart = canvas.seed, 1450.0
    angle = 0.15 + 0.7 * float(unit(hash(key(seed, "flow"), np.zeros(1)))[0])
    cos, sin = round(math.cos(angle), 6), round(math.sin(angle), 6)
    y = (
        canvas.y[:, None]
        + canvas.noise("meander y", 420) * 58.0
        + canvas.noise("loop y", 130, 2, 0.35) * 21.0
    )
    x = (
        canvas.x[None, :]
        + canvas.noise("meander x", 420) * 58.0
        + canvas.noise("loop x", 130, 2, 0.35) * 21.0
    )
    along, across = x * cos + y * sin, y * cos - x * sin
    slope = _steepness(along)
    swell = 1 + 0.25 * canvas.noise("swell", 150)
    bank = np.full(x.shape, -np.inf, np.float32)
    valley = np.full(x.shape, np.inf, np.float32)
    beside, width, nearest = (np.full(x.shape, value, np.float32) for value in (99, 0, -99))
    for k in range(math.floor(across.min() / apart) - 1, math.floor(across.max() / apart) + 2):
        river = hash(key(seed, "river"), np.full(1, k))
        offset = across - (k + 0.5) * apart - wave(river, along, 1300) * 180.0
        away = np.abs(offset)
        half_width = (4.5 + 6 * again(river, 1)) * swell
        bank = np.maximum(bank, half_width - (away / _steepness(offset)).astype(np.float32))
        valley = np.minimum(valley, away.astype(np.float32))
        place = (along + 0.55 * away) / 520
        number = np.floor(place)
        brook = hash(river, np.sign(offset), number)
        middle = number + 0.5 + 0.3 * (again(brook, 1) - 0.5)
        stray = (place - middle) * 520 - wave(brook, away, 240) * 26.0
        reach = apart * (0.18 + 0.27 * again(brook, 2))
        half_width = (1.0 + 2.6 * again(brook, 3)) * (1 - away / reach)
        half_width = np.where(half_width > 0, np.maximum(half_width, 0.75), -50).astype(np.float32)
        stray = (stray / slope).astype(np.float32)
        inside = half_width - np.abs(stray)
        closer = inside > nearest
        beside, width = np.where(closer, stray, beside), np.where(closer, half_width, width)
        nearest = np.maximum(nearest, inside)
    return np.maximum(bank, nearest), valley, beside, width


def _steepness(field: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Change of a coarse field per pixel, never below a half: turns a difference into a
    distance."""
    down, across = np.gradient(field, STEP)
    return np.maximum(np.sqrt(down * down + across * across), 0.5)


def _rotation(t: Floats) -> tuple[Floats, Floats]:
    """Cosine and sine of the angle whose half has the tangent `t`, without any library's cosine."""
    scale = 1 / (1 + t * t)
    return (1 - t * t) * scale, 2 * t * scale


def _pick(names: tuple[str, ...], chance: Floats) -> npt.NDArray[np.uint8]:
    """One of the materials named, by a number in [0, 1)."""
    table = np.array([INDEX[name] for name in names], np.uint8)
    return table.take((chance * np.float32(len(names))).astype(np.uint8))


_CROP_OF = np.repeat(np.arange(len(_CROPS), dtype=np.uint8), [crop[0] for crop in _CROPS])
_CROP_BELOW = np.array([INDEX[crop[1]] for crop in _CROPS], np.uint8)
_CROP_ABOVE = np.array([INDEX[crop[2]] for crop in _CROPS], np.uint8)
_CROP_COVER = np.array([crop[3] for crop in _CROPS], np.float32)
_CROP_SPREAD = np.array([crop[4] for crop in _CROPS], np.float32)
_CROP_TRUTH = np.array([crop[5] for crop in _CROPS], np.uint8)


def farms(canvas: Canvas, ground: Ground) -> Hashes:
    """Farms, cut into strips and the strips into parcels, with hedges, tracks and farmsteads; the
    hash of each parcel.

    The farms of a parish share the direction and the size of their fields, and what they live on.
    """
    y, x = canvas.fine(ground.y), canvas.fine(ground.x)
    farm = canvas.sharpen(canvas.nearest("farm", 112, ground.y, ground.x), y, x)
    bits, at = farm.cells.bits, farm.at
    parish = hash(key(canvas.seed, "parish"), farm.cells.i // 3, farm.cells.j // 3)
    turn = (again(parish, 1) - 0.5) * 1.7 + (again(bits, 3) - 0.5) * 0.3
    cos, sin = _rotation(turn)
    wide = (7 + 14 * again(parish, 2)) * (0.7 + 0.7 * again(bits, 4))
    long = (20 + 30 * again(parish, 3)) * (0.7 + 0.7 * again(bits, 5))
    county = hash(key(canvas.seed, "county"), farm.cells.i // 9, farm.cells.j // 9)
    arable = again(parish, 4) + 0.8 * again(county, 1) - 0.9
    dy, dx = y - farm.cells.y.take(at), x - farm.cells.x.take(at)
    along, across = dx * cos.take(at) + dy * sin.take(at), dy * cos.take(at) - dx * sin.take(at)
    name = bits.take(at)
    v = across * (1 / wide).take(at)
    i = np.floor(v)
    i -= v - i < 0.7 * unit(hash(name, i))
    strip = hash(name, i)
    u = along * (1 / long).take(at) * (0.7 + again(strip, 6)) + again(strip, 7)
    parcel = hash(strip, np.floor(u))
    chance = again(parcel, 8)
    chance += arable.take(at) * chance * (1 - chance)
    crop = _CROP_OF.take((chance * 100).astype(np.uint8))
    rows = unit(hash(parcel, np.floor(across * 0.6))) - 0.5
    vary = (again(parcel, 9) - 0.5) * 2 + canvas.fine(ground.vigour) * 0.55 + rows * 0.4
    canvas.truth = _CROP_TRUTH.take(crop)
    canvas.below, canvas.above = _CROP_BELOW.take(crop), _CROP_ABOVE.take(crop)
    canvas.cover = np.clip(_CROP_COVER.take(crop) + _CROP_SPREAD.take(crop) * vary, 0, 1)
    canvas.gain = 0.85 + 0.3 * again(parcel, 10) - 0.05 * canvas.fine(ground.moisture)
    clump, grain = canvas.clumps("hedge"), canvas.speckle(13)
    copse = again(parcel, 14) < 0.025
    canvas.lay(copse, TREES, "canopy shade", "broadleaf", 0.45 + 0.3 * clump + 0.2 * grain)
    # Between farms: a hedge, a track or nothing, the same from both sides.
    edge = (farm.next_gap - farm.gap) * 0.5
    kind = again(name ^ bits.take(farm.next_at), 11)
    canvas.lay((edge < 0.6) & (kind > 0.55), None, "gravel", "dry grass", 0.35)
    hedge = (kind < 0.3) & (edge < 0.2 + clump)
    canvas.lay(hedge, TREES, "canopy shade", "broadleaf", 0.5 + 0.4 * clump)
    # A farmstead among its trees.
    yard = (5 * again(bits, 12) - 1.8).take(at) - farm.gap + clump * 2
    canvas.lay((yard > -3) & (clump > 0.6), TREES, "canopy shade", "broadleaf", 0.8)
    roof = _pick(("tile roof", "grey roof", "gravel", "asphalt"), grain)
    canvas.lay(yard > 1, BUILT, roof, "meadow", grain * 0.6)
    return parcel


def woods(canvas: Canvas, ground: Ground, parcel: Hashes) -> None:
    """Woods on hills and along water, in stands that follow the parcels; some have been felled."""
    town = ramp(ground.town.gap + canvas.noise("outskirts", 120, 3) * 26, 0, 70)
    wet = np.clip(1 + ground.bank / 14, 0, 1) * 0.8
    field = canvas.noise("woods", 280, 5, 0.62) + 0.7 * ground.height + wet + town * 2 - 2
    if float(field.max()) < -0.4:
        return
    owner = again(parcel, 20)
    clump, grain = canvas.clumps("crowns"), canvas.speckle(21)
    ragged = (owner - 0.5) * 0.35 + (grain - 0.5) * 0.1
    inside = canvas.fine(field) > ragged - 0.15
    stand = canvas.fine(canvas.noise("stand", 140, 2) + ground.height * 0.8) + owner * 0.7
    needles = stand + (clump - 0.5) * 0.6 > 1.05
    crown = np.where(needles, np.uint8(INDEX["conifer"]), np.uint8(INDEX["broadleaf"]))
    canopy = canvas.fine(canvas.noise("canopy", 36, 3, 0.7)) * 0.13
    thick = 0.42 + 0.3 * clump + 0.2 * grain + canopy + owner * 0.12
    canvas.lay(inside, TREES, "canopy shade", crown, np.clip(thick, 0, 1), 0.85 + 0.3 * owner)
    felled = inside & (again(parcel, 22) < 0.03)
    canvas.lay(felled, SPARSE, "brown soil", "dry grass", 0.3 + 0.6 * clump)


def heath(canvas: Canvas, ground: Ground) -> None:
    """Heather and dry grass on the heights, with scrub in patches and rock where the soil is
    gone."""
    town = ramp(ground.town.gap, 0, 60)
    field = canvas.noise("heath", 210, 5, 0.62) + ground.height + town * 3 - 3
    if float(field.max()) < 1.25:
        return
    clump, grain = canvas.clumps("tussocks"), canvas.speckle(23)
    heath = canvas.fine(field)
    wild = heath > 1.4 + (grain - 0.5) * 0.25
    patch = canvas.fine(canvas.noise("patch", 30, 3, 0.7)) * 0.22 + (clump - 0.5) * 0.4
    moor = canvas.fine(canvas.noise("moor", 90, 3)) > (clump - 0.5)
    plants = np.where(moor, np.uint8(INDEX["heather"]), np.uint8(INDEX["dry grass"]))
    canvas.lay(wild, SPARSE, "brown soil", plants, np.clip(0.7 + patch, 0, 1))
    canvas.lay(wild & (patch > 0.34), TREES, "heather", "scrub", 0.85)
    bald = canvas.fine(canvas.noise("bald", 60, 4, 0.8)) + (heath - 1.4) * 0.4
    canvas.lay(
        wild & (bald + patch > 1.6), BARE, "rock", "pale soil", np.clip(0.3 + patch * 2, 0, 1)
    )


def pits(canvas: Canvas, ground: Ground) -> None:
    """Quarries in pale stone and gravel pits, some with water at the bottom."""
    pit = canvas.nearest("pit", 380, ground.y, ground.x, lambda bits: 24 * again(bits, 3) - 6)
    field = canvas.noise("benches", 30, 2) * 4 - pit.gap
    if float(field.max()) < 0:
        return
    depth, clump = canvas.fine(field), canvas.clumps("heaps")
    pale = canvas.blocky(again(pit.cells.bits, 4).take(pit.at)) > 0.6
    stone = np.where(pale, np.uint8(INDEX["limestone"]), np.uint8(INDEX["gravel"]))
    dug = depth > 0
    share = np.clip(depth * 0.07 + clump * 0.3, 0, 1)
    canvas.lay(dug, BARE, "pale soil", stone, share, 0.8 + 0.3 * clump)
    canvas.lay(dug & ~pale & (depth > 10), WATER, "clear water", "silty water", 0.7)


def rivers(canvas: Canvas, ground: Ground) -> None:
    """Water between its banks, gravel bars in the broad rivers, trees beside."""
    if float(ground.bank.max()) < -45:
        return
    bank, main = canvas.fine(ground.bank), canvas.fine(ground.valley) < 40
    clump, grain = canvas.clumps("riparian"), canvas.speckle(24)
    strip = (
        np.clip(canvas.noise("gallery", 110, 4, 0.65), -0.5, 1.5)
        * ramp(-ground.valley, -260, -60)
        * 16
        + 3
    )
    wooded = bank > -canvas.fine(strip) - 3 * clump
    canvas.lay(wooded, TREES, "canopy shade", "broadleaf", 0.45 + 0.3 * clump + 0.2 * grain)
    bars = canvas.fine(canvas.noise("bars", 44, 2))
    shoal = np.clip(bars - 0.5, 0, 1) * 3
    canvas.lay(main & (bank > -1) & (shoal > 0), BARE, "gravel", "pale soil", 0.4 * clump)
    silt = np.clip(0.55 + canvas.fine(canvas.noise("silt", 900)) * 0.25 + grain * 0.1, 0, 1)
    brook = (np.abs(canvas.fine(ground.beside_brook)) < canvas.fine(ground.brook)) & (bank > -5)
    canvas.lay(
        brook | (np.where(main, bank - shoal, bank) > 0), WATER, "clear water", "silty water", silt
    )


def lakes(canvas: Canvas, ground: Ground) -> None:
    """Lakes and ponds, shallow and reedy at the shore."""

    def radius(bits: Hashes) -> Floats:
        size = again(bits, 3)
        return 95 * size * size * size - 4

    lake = canvas.nearest("lake", 520, ground.y, ground.x, radius)
    size = radius(lake.cells.bits).take(lake.at)
    field = -lake.gap + canvas.noise("shore", 70, 4, 0.6) * 0.3 * np.clip(size, 2, 40)
    if float(field.max()) < -4:
        return
    depth, clump = canvas.fine(field), canvas.clumps("reeds")
    shallow = 1 - ramp(depth, 0, 10)
    tint = canvas.blocky(again(lake.cells.bits, 5).take(lake.at)) * 0.45
    canvas.lay((depth > -4) & (clump > 0.45), TREES, "canopy shade", "scrub", 0.8)
    water = np.clip(tint + shallow * 0.4 + clump * 0.06, 0, 1)
    canvas.lay(depth > 0, WATER, "clear water", "turbid water", water)


_TOWNS_APART = 480
_TOWN_JITTER = 0.6


def _town_radius(bits: Hashes) -> Floats:
    """Most are villages, some are towns, one in twelve is a city."""
    size = again(bits, 3)
    square = size * size
    return 12 + 70 * square * size + np.where(size > 0.92, np.float32(75), np.float32(0))


def towns(canvas: Canvas, ground: Ground) -> None:
    """Streets around a centre: dense blocks, then gardens and works, and parks between."""
    town = ground.town
    radius = _town_radius(town.cells.bits).take(town.at)
    field = canvas.noise("sprawl", 60, 4, 0.65) * (0.3 * radius + 2) - town.gap
    if float(field.max()) < -30:
        return
    inside = canvas.fine(field)
    quarter = canvas.fine(canvas.noise("quarter", 44, 2))
    sway = canvas.fine(canvas.noise("street", 70)) * 2.5
    at = canvas.blocky(town.at)
    cos, sin = _rotation(again(town.cells.bits, 6) * 2 - 1)
    dy = canvas.fine(ground.y) - town.cells.y.take(at)
    dx = canvas.fine(ground.x) - town.cells.x.take(at)
    u = (dx * cos.take(at) + dy * sin.take(at) + sway) / 9
    v = (dy * cos.take(at) - dx * sin.take(at) - sway) / 13
    i, j = np.floor(u), np.floor(v)
    square = hash(town.cells.bits.take(at), i, j)
    dry = canvas.truth != WATER
    built = dry & (inside + (again(square, 7) - 0.5) * 16 > 2)
    grain, house = canvas.speckle(31), canvas.speckle(32)
    site = dry & (inside > -25) & ~built & (again(square, 12) > 0.95)
    canvas.lay(site, BARE, "brown soil", "pale soil", house, 0.85 + 0.3 * grain)
    if not built.any():
        return
    central = np.clip(inside / np.maximum(canvas.blocky(radius), 30), 0, 1)
    dense = central + 0.3 * again(square, 8) + 0.12 * quarter - 0.15
    roof = _pick(("tile roof", "tile roof", "grey roof", "asphalt"), canvas.speckle(33))
    garden = _pick(("meadow", "meadow", "broadleaf", "dry grass"), again(square, 10))
    green = 0.66 - 0.5 * dense + (house - 0.5) * 0.5
    shade = 0.7 + 0.25 * grain + 0.25 * again(square, 16)
    canvas.lay(built, BUILT, roof, garden, np.clip(green, 0, 1), shade)
    use = again(square, 9)
    hall = hash(square, np.floor(u * 2), np.floor(v * 2))
    works = built & (use + 0.1 * quarter > 0.95) & (central < 0.6)
    big = _pick(
        ("metal roof", "concrete", "grey roof", "grey roof", "asphalt", "asphalt", "tile roof"),
        again(hall, 11),
    )
    canvas.lay(works, BUILT, "asphalt", big, 0.7 + 0.2 * grain)
    park = built & (use < 0.08)
    canvas.lay(park, CROPS, "dry grass", "meadow", 0.5 + 0.5 * house)
    grove = park & (canvas.clumps("park") > 0.5)
    canvas.lay(grove, TREES, "canopy shade", "broadleaf", 0.6 + 0.3 * house)
    street = built & ~park & ((u - i < 0.11) | (v - j < 0.08))
    canvas.lay(street, BUILT, "asphalt", "meadow", 0.35 * house)


def roads(canvas: Canvas, ground: Ground) -> None:
    """Roads from town to town, and a motorway along every fourth row of towns."""
    low_i, low_j = canvas.row // _TOWNS_APART - 2, canvas.col // _TOWNS_APART - 2
    towns = canvas.cells(
        "town", _TOWNS_APART, _TOWN_JITTER, low_i + np.arange(6), low_j + np.arange(6)
    )
    ys, xs = towns.y.tolist(), towns.x.tolist()
    across, down, slanting = (again(towns.bits, salt).tolist() for salt in (13, 14, 15))
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
