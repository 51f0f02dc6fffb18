"""Facts about simplified boundaries: areas stay, neighbours agree, every face is valid, nobody
needs to meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio import features
from scipy.ndimage import gaussian_filter

from tests.chance import chances, dense_rasters
from tests.tiling.rasters import label
from tiling.grid.window import Window
from tiling.polygons import faces, simplify
from tiling.polygons.faces import PIXELS, failing
from tiling.polygons.outlines import Rings, connect, find_lines
from tiling.polygons.simplify import ORIGINAL, Arcs, Levels, Outlines, arcs_of, simplify_arcs
from tiling.polygons.wkb import on_the_map
from tiling.regions.components import OUTSIDE

Array = npt.NDArray[Any]
DEFAULT = 0.75


def outlined(classes: Array) -> tuple[Rings, Array]:
    """Rings of all regions of a whole raster, and the class of each; no data is a class like any
    other."""
    labels, first = label(classes)
    around = np.pad(labels, 1, constant_values=OUTSIDE)
    return connect(find_lines(around, Window.of_shape(*classes.shape))), classes.ravel()[first]


def nodes_of(rings: Rings, classes: Array) -> Array:
    """Which vertices are on the frame, or where three or four boundaries between pixels meet."""
    labels = np.pad(label(classes)[0], 1, constant_values=OUTSIDE)
    found = []
    for row, col in zip(rings.row, rings.col, strict=True):
        (a, b), (c, d) = labels[row : row + 2, col : col + 2]
        found.append(OUTSIDE in (a, b, c, d) or sum([a != b, b != d, d != c, c != a]) > 2)
    return np.array(found)


def polygons(outlines: Outlines, rings: Rings) -> Array:
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, outlines.xy, (outlines.rings, rings.regions)
    )


def pixel_areas(rings: Rings) -> Array:
    xy = np.stack([rings.col, rings.row], axis=1).astype(float)
    return shapely.area(
        shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, (rings.rings, rings.regions))
    )


def worked(
    rings: Rings, tolerance: float, smooth: int = 0, affine: Affine = PIXELS
) -> tuple[Arcs, Outlines, Levels]:
    """Rounds until every face is valid."""
    arcs = arcs_of(rings)
    levels = untouched(arcs)
    for _ in range(ORIGINAL * arcs.key.size + 1):
        outlines = simplify_arcs(arcs, tolerance, levels, smooth=smooth)
        keys = failing(outlines, rings, arcs, levels, affine)
        if not keys.size:
            return arcs, outlines, levels
        levels[np.isin(arcs.key, keys)] += 1
        assert levels.max() <= ORIGINAL
    raise AssertionError("rounds do not end")


def untouched(arcs: Arcs) -> Levels:
    """All arcs have the whole tolerance."""
    return np.zeros(arcs.key.size, np.int8)


def alone(rings: Rings, region: int) -> Rings:
    """The rings of one region."""
    first, stop = rings.regions[region : region + 2]
    begin, end = rings.rings[[first, stop]]
    return Rings(
        rings.row[begin:end],
        rings.col[begin:end],
        rings.rings[first : stop + 1] - begin,
        np.array([0, stop - first]),
        rings.node[begin:end],
    )


def lines(outlines: Outlines, arcs: Arcs) -> list[Array]:
    """Each arc as its ring passes it, in the order of `arcs.key`."""
    found = []
    for ring, (first, stop) in enumerate(zip(arcs.rings[:-1], arcs.rings[1:], strict=True)):
        ends = [*(outlines.arcs[first + 1 : stop] + 1), outlines.rings[ring + 1]]
        found += [outlines.xy[a:b] for a, b in zip(outlines.arcs[first:stop], ends, strict=True)]
    return found


def smooth_mask(size: int, coarse: float, seed: int, n: int = 6) -> Array:
    """Classes whose patches are round and some `coarse` pixels wide."""
    noise = np.random.default_rng(seed).normal(size=(n, size, size))
    return (
        np.stack([gaussian_filter(layer, coarse, mode="wrap") for layer in noise])
        .argmax(0)
        .astype(np.uint8)
    )


@st.composite
def rasters(draw: st.DrawFn) -> Array:
    """1 to 40 px and 1 to 5 classes: noise, patches, or round shapes."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    n = draw(st.integers(1, 5))
    if draw(st.booleans()):
        return smooth_mask(40, draw(st.floats(0.7, 3)), draw(st.integers(0, 99)), n)[
            : shape[0], : shape[1]
        ]
    patches = draw(st.integers(1, 3))
    small = tuple(-(-length // patches) for length in shape)
    values = draw(hnp.arrays(np.uint8, small, elements=st.integers(0, n - 1), fill=st.nothing()))
    return values.repeat(patches, 0).repeat(patches, 1)[: shape[0], : shape[1]]


ONE_PIXEL = np.pad(np.ones((1, 1), np.uint8), 2)
THREE_DIAGONAL = np.kron(np.eye(3, dtype=np.uint8), np.ones((2, 2), np.uint8))
SLIVER = np.repeat([[0], [0], [2], [1], [1]], 9, axis=1).astype(np.uint8)
SLIVER[2, [0, 1, -2, -1]] = 0, 0, 1, 1

tolerances = st.sampled_from([0.3, DEFAULT, 1.0, 1.7, 3.0, 8.0])


@settings(max_examples=40)
@example(ONE_PIXEL, 8.0, 0)
@example(THREE_DIAGONAL, 8.0, 1)
@example(SLIVER, 8.0, 0)
@given(classes=rasters(), tolerance=tolerances, smooth=st.integers(0, 3))
def test_faces_are_a_valid_partition_of_the_frame(
    classes: Array, tolerance: float, smooth: int
) -> None:
    rings, _ = outlined(classes)
    shapes = polygons(worked(rings, tolerance, smooth)[1], rings)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapes).sum() == pytest.approx(classes.size, rel=1e-12)
    assert shapely.total_bounds(shapes).tolist() == [0, 0, classes.shape[1], classes.shape[0]]
    if not smooth:
        np.testing.assert_allclose(shapely.area(shapes), pixel_areas(rings), rtol=0, atol=1e-6)


def test_faces_are_so_where_regions_are_many_and_small() -> None:
    for classes, chance in dense_rasters(100, side=24):
        tolerance, smooth = (
            float(chance.choice([0.3, DEFAULT, 1.7, 8.0])),
            int(chance.integers(0, 4)),
        )
        test_faces_are_a_valid_partition_of_the_frame.hypothesis.inner_test(
            classes, tolerance, smooth
        )


PIERCED = np.array(
    [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.uint8
)
"""Of its pixels at (3, 2) a triangle is made whose tip lies on the frame: the face around stays
valid so."""

PLACES = (
    Affine(10, 0, 500_000, 0, -10, 5_300_000),
    Affine(3.280833, 0, 987_654.321, 0, -3.280833, 212_345.678),
    Affine(32.808333333, 0, 3_234_567.891, 0, -32.808333333, 1_098_765.432),
    Affine(20, 0, 412_345.6, 0, -10, 7_000_000.4),
    Affine(0.03, 0, 500_123.456, 0, 0.03, 5_000_000.789),
    Affine(1 / 3600, 0, 179.3, 0, -1 / 3600, 89.6),
    Affine(123.4, 0, 1.9e7, 0, -123.4, -1.5e7),
)
"""Metres, feet, oblong pixels, centimetres with rows north, degrees, and what is far from the
origin."""


def islands(chance: np.random.Generator) -> Array:
    """Small regions that lie in others, some beside the frame, or noise, or round shapes."""
    shape = tuple(chance.integers(4, 50, 2))
    match int(chance.integers(4)):
        case 0:
            return chance.integers(0, 4, shape).astype(np.uint8)
        case 1:
            return smooth_mask(50, chance.uniform(0.5, 2), int(chance.integers(99)))[
                : shape[0], : shape[1]
            ]
        case _:
            few = chance.random(shape) < chance.uniform(0.05, 0.4)
            return (few * chance.integers(1, 4, shape)).astype(np.uint8)


def test_a_hole_that_touches_its_frame_goes_back() -> None:
    rings, _ = outlined(PIERCED)
    arcs = arcs_of(rings)
    first = polygons(simplify_arcs(arcs, 1.5, untouched(arcs)), rings)
    assert shapely.is_valid(first).all()
    assert not shapely.coverage_is_valid(first)
    shapes = polygons(worked(rings, 1.5)[1], rings)
    assert shapely.coverage_is_valid(shapes)


def test_a_look_at_every_arc_blames_no_other_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for chance in chances(40):
        rings, _ = outlined(islands(chance))
        arcs = arcs_of(rings)
        levels = untouched(arcs)
        outlines = simplify_arcs(arcs, float(chance.choice([1.5, 3.0, 6.0])), levels)
        blamed = failing(outlines, rings, arcs, levels)
        with monkeypatch.context() as patch:
            patch.setattr(faces, "_touching", lambda _, some, *__: np.diff(some.regions) > 0)
            np.testing.assert_array_equal(failing(outlines, rings, arcs, levels), blamed)


def test_a_line_that_ends_where_a_closed_arc_is_cut_is_noticed() -> None:
    ring = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], float)
    xy = np.concatenate([ring[:3], ring[2:], [[4, 4], [9, 9]]])
    offsets = np.array([0, 3, 6, 8])
    one_face, first = np.zeros(3, np.intp), np.array([0])
    assert faces._crowded(xy, offsets, one_face, first).tolist() == [0, 0]
    assert not faces._crowded(xy, offsets, np.array([0, 0, 1]), first).size
    xy[6] += 1
    assert not faces._crowded(xy, offsets, one_face, first).size


@pytest.mark.parametrize("sides", [3, 4, 5, 8])
def test_rings_are_certainly_simple_where_geos_finds_them_valid(sides: int) -> None:
    """On a coarse lattice, where rounding leaves much open, never where it does not."""
    chance = np.random.default_rng(sides)
    offsets = np.arange(4001) * (sides + 1)
    for lattice in (False, True):
        xy = chance.random((4000, sides, 2)) * 5
        if lattice:
            xy = np.floor(xy)
        xy = np.concatenate([xy, xy[:, :1]], axis=1).reshape(-1, 2)
        valid = shapely.is_valid(shapely.polygons(xy.reshape(4000, -1, 2)))
        certain = faces._certainly_simple(xy, offsets, np.arange(4000))
        assert certain.any()
        assert not (certain & ~valid).any()
        assert lattice or (certain == valid).all()


def test_what_is_certain_of_faces_is_what_geos_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "HOLES", 1)
    monkeypatch.setattr(faces, "FEW", 1)
    for chance in chances(40):
        rings, _ = outlined(islands(chance))
        arcs = arcs_of(rings)
        outlines = simplify_arcs(arcs, float(chance.choice([1.5, 3.0, 8.0])), untouched(arcs))
        face = np.repeat(np.arange(rings.regions.size - 1), np.diff(arcs.rings[rings.regions]))
        invalid = faces._invalid(outlines, rings, faces._touching(outlines, rings, arcs, face))
        np.testing.assert_array_equal(invalid, ~shapely.is_valid(polygons(outlines, rings)))


@pytest.mark.parametrize(
    ("places", "certain"),
    [
        ([(0, 20), (5, 2), (9, 2)], True),
        ([(0, 20), (25, 2), (9, 2)], False),
        ([(0, 20), (5, 8), (7, 2)], False),
        ([(0, 20), (7, 2), (5, 8)], False),
    ],
    ids=["apart", "outside", "nested", "nested the other way"],
)
def test_holes_lie_in_the_exterior_and_in_no_other(
    places: list[tuple[int, int]], certain: bool
) -> None:
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], float)
    xy = np.concatenate([start + side * square for start, side in places])
    offsets, regions = 5 * np.arange(4), np.array([0, 3])
    rings = Rings(xy[:, 1], xy[:, 0], offsets, regions, np.zeros(15, bool))
    found = faces._certainly_pierced(Outlines(xy, offsets, offsets[:-1]), rings, np.array([0]))
    assert found.tolist() == [certain]


@pytest.mark.slow
def test_faces_are_a_coverage_as_they_are_written_wherever_the_raster_lies() -> None:
    for chance in chances(150):
        classes, affine = islands(chance), PLACES[int(chance.integers(len(PLACES)))]
        tolerance, smooth = float(chance.choice([DEFAULT, 1.5, 3.0])), int(chance.choice([0, 0, 1]))
        rings, _ = outlined(classes)
        outlines = worked(rings, tolerance, smooth, affine)[1]
        xy = on_the_map(outlines.xy[:, 0], outlines.xy[:, 1], affine)
        shapes = polygons(outlines._replace(xy=xy), rings)
        assert shapely.is_valid(shapes).all()
        assert shapely.coverage_is_valid(shapes), (classes.tolist(), affine, tolerance, smooth)


@settings(max_examples=15)
@given(classes=rasters(), tolerance=tolerances, smooth=st.integers(0, 2))
def test_a_region_alone_gets_the_rings_it_gets_in_company(
    classes: Array, tolerance: float, smooth: int
) -> None:
    rings, _ = outlined(classes)
    arcs, together, levels = worked(rings, tolerance, smooth)
    halfway = np.isin(arcs.key, arcs.key[::3]).astype(np.int8)
    spoiled = simplify_arcs(arcs, tolerance, halfway, smooth=smooth)
    keys = set[int]()
    for region in range(rings.regions.size - 1):
        own = alone(rings, region)
        its = slice(*arcs.rings[rings.regions[region : region + 2]])
        apart = simplify_arcs(arcs_of(own), tolerance, levels[its], smooth=smooth)
        first, stop = together.rings[rings.regions[region : region + 2]]
        assert apart.xy.tobytes() == together.xy[first:stop].tobytes()
        half = simplify_arcs(arcs_of(own), tolerance, halfway[its], smooth=smooth)
        keys |= set(failing(half, own, arcs_of(own), halfway[its]).tolist())
    assert keys == set(failing(spoiled, rings, arcs, halfway).tolist())


@settings(max_examples=15)
@given(classes=rasters(), tolerance=tolerances, smooth=st.integers(0, 2))
def test_an_arc_is_the_same_to_the_bit_from_both_sides(
    classes: Array, tolerance: float, smooth: int
) -> None:
    rings, _ = outlined(classes)
    arcs = arcs_of(rings)
    seen: dict[int, list[tuple[bool, bytes, bytes]]] = {}
    for key, against, line in zip(
        arcs.key.tolist(),
        arcs.against.tolist(),
        lines(simplify_arcs(arcs, tolerance, untouched(arcs), smooth=smooth), arcs),
        strict=True,
    ):
        seen.setdefault(key, []).append((against, line.tobytes(), line[::-1].tobytes()))
    for sides in seen.values():
        if len(sides) == 2:
            (one, forth, _), (other, _, back) = sides
            assert one != other
            assert forth == back
        else:  # the frame has one side
            assert len(sides) == 1
            xy = np.frombuffer(sides[0][1]).reshape(-1, 2)
            assert ((xy == 0) | (xy == classes.shape[::-1])).any(1).all()


@settings(max_examples=15)
@given(classes=rasters())
def test_a_key_tells_arcs_apart(classes: Array) -> None:
    rings, _ = outlined(classes)
    arcs = arcs_of(rings)
    vertices = np.split(np.stack([arcs.row, arcs.col], axis=1), arcs.offsets[1:-1])
    contents = [line.tobytes() for line in vertices]
    assert (
        len(set(contents))
        == len(set(arcs.key.tolist()))
        == len(set(zip(arcs.key.tolist(), contents, strict=True)))
    )


@settings(max_examples=15)
@given(classes=rasters())
def test_no_tolerance_leaves_the_pixels(classes: Array) -> None:
    rings, _ = outlined(classes)
    arcs = arcs_of(rings)
    one, other = (
        polygons(simplify_arcs(arcs, 0, untouched(arcs)), rings),
        polygons(simplify_arcs(arcs, 3, untouched(arcs) + np.int8(ORIGINAL), smooth=2), rings),
    )
    xy = np.stack([rings.col, rings.row], axis=1).astype(float)
    pixels = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, xy, (rings.rings, rings.regions)
    )
    for found in (one, other):
        assert shapely.equals_exact(shapely.normalize(found), shapely.normalize(pixels), 0).all()


def test_a_level_halves_the_tolerance() -> None:
    rings, _ = outlined(smooth_mask(128, 4, seed=1))
    arcs = arcs_of(rings)
    for level in (1, 2):
        closer = simplify_arcs(arcs, 3, untouched(arcs) + np.int8(level))
        assert (
            closer.xy.tobytes() == simplify_arcs(arcs, 3 / 2**level, untouched(arcs)).xy.tobytes()
        )


def staircase() -> Array:
    rows, cols = np.indices((30, 30))
    return (cols > rows).astype(np.uint8)


def test_a_staircase_becomes_a_straight_line() -> None:
    rings, _ = outlined(staircase())
    shapes = polygons(worked(rings, DEFAULT)[1], rings)
    assert shapely.get_num_coordinates(shapes).max() <= 8


def test_a_field_along_the_pixels_keeps_its_corners() -> None:
    field = np.pad(np.ones((6, 9), np.uint8), 5)
    rings, classes = outlined(field)
    (shape,) = polygons(worked(rings, DEFAULT)[1], rings)[classes == 1]
    assert shape.equals(shapely.box(5, 5, 14, 11))


@pytest.mark.parametrize("height", [1, 2])
@pytest.mark.parametrize("width", [1, 5])
def test_small_regions_stay_rectangles(height: int, width: int) -> None:
    rings, classes = outlined(np.pad(np.ones((height, width), np.uint8), 3))
    (shape,) = polygons(worked(rings, 8)[1], rings)[classes == 1]
    assert shape.equals(shapely.box(3, 3, 3 + width, 3 + height))


def test_a_wedge_between_two_nodes_stays_between_its_neighbours() -> None:
    rings, classes = outlined(SLIVER)
    (shape,) = polygons(worked(rings, 8)[1], rings)[classes == 2]
    assert shape.area == pytest.approx(5)


def crossing() -> tuple[Rings, Arcs, Outlines]:
    """Lines of so great a tolerance that they cross."""
    rings, _ = outlined(smooth_mask(96, 2, seed=3))
    arcs = arcs_of(rings)
    return rings, arcs, simplify_arcs(arcs, 8, untouched(arcs))


def test_of_a_spoiled_face_only_lines_that_cross_go_back() -> None:
    rings, arcs, outlines = crossing()
    shapes = polygons(outlines, rings)
    keys = failing(outlines, rings, arcs, untouched(arcs))
    region = np.repeat(np.arange(len(shapes)), np.diff(arcs.rings[rings.regions]))
    spoiled = ~shapely.is_valid(shapes)
    assert spoiled.any()
    blamed = np.isin(arcs.key, keys)
    assert np.isin(np.flatnonzero(spoiled), region[blamed]).all(), (
        "every invalid face has something to mend"
    )
    assert keys.size < np.unique(arcs.key[spoiled[region]]).size / 2


def test_a_ring_that_turned_over_is_noticed() -> None:
    rings, _ = outlined(ONE_PIXEL)
    arcs = arcs_of(rings)
    kept = simplify_arcs(arcs, 1, untouched(arcs))
    assert not failing(kept, rings, arcs, untouched(arcs)).size
    for spoiled in (kept.xy * [[-1, 1]], kept.xy * [[0, 1]]):
        keys = failing(kept._replace(xy=spoiled), rings, arcs, untouched(arcs))
        assert set(keys.tolist()) == set(arcs.key.tolist())


@pytest.mark.parametrize("smooth", [0, 2])
def test_class_areas_stay_on_smooth_land_cover(smooth: int) -> None:
    rings, classes = outlined(smooth_mask(1024, 12, seed=0))
    shapes = polygons(worked(rings, DEFAULT, smooth)[1], rings)
    assert shapely.coverage_is_valid(shapes)
    found, expected = (
        np.bincount(classes, shapely.area(shapes)),
        np.bincount(classes, pixel_areas(rings)),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3 if smooth else 1e-9)


def test_smoothing_rounds_corners_and_leaves_the_ends() -> None:
    line = np.array([[0, 0], [40, 0], [40, 40]], float)
    xy, offsets = simplify._cut_corners(line, np.array([0, 3]), np.array([True]))
    np.testing.assert_array_equal(xy, [[0, 0], [39, 0], [40, 1], [40, 40]])
    assert offsets.tolist() == [0, 4]


def test_real_land_cover_against_geos(shared_data: Path) -> None:
    with rasterio.open(
        shared_data / "chesapeake_md_multires" / "m_3907833_nw_17_1_lc.tif"
    ) as source:
        raster = features.sieve(source.read(1), 6)
    rings, classes = outlined(raster)
    shapes = polygons(worked(rings, DEFAULT)[1], rings)
    assert shapely.coverage_is_valid(shapes)
    xy = np.stack([rings.col, rings.row], axis=1).astype(float)
    pixels = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, xy, (rings.rings, rings.regions)
    )
    geos = shapely.coverage_simplify(pixels, 1.0)
    assert (
        shapely.get_num_coordinates(shapes).sum() < 0.6 * shapely.get_num_coordinates(pixels).sum()
    )
    assert (
        shapely.hausdorff_distance(pixels, shapes).max()
        < shapely.hausdorff_distance(pixels, geos).max()
    )
    areas = np.bincount(classes, shapely.area(pixels))
    change = [
        abs(np.bincount(classes, shapely.area(found)) - areas).max() for found in (shapes, geos)
    ]
    assert change[0] < 1e-6 < change[1]


def test_node_flags_of_outlines_are_those_the_raster_shows() -> None:
    for seed in range(3):
        classes = np.random.default_rng(seed).integers(0, 3, (20, 17)).astype(np.uint8)
        rings, _ = outlined(classes)
        np.testing.assert_array_equal(rings.node, nodes_of(rings, classes))


def sharp_and_stepped(outlines: Outlines) -> tuple[float, float]:
    """Parts of the corners that are sharper than 60°, and that begin a step of one pixel between
    two parallel edges."""
    sharp = stepped = corners = 0
    for begin, end in zip(outlines.rings[:-1], outlines.rings[1:], strict=True):
        xy = outlines.xy[begin : end - 1]
        forth, back = np.roll(xy, -1, 0) - xy, np.roll(xy, 1, 0) - xy
        cosine = (forth * back).sum(1) / (np.hypot(*forth.T) * np.hypot(*back.T))
        sharp += np.count_nonzero(cosine > 0.5)
        along = (np.abs(forth) < 1e-9).any(1)
        turn = -np.sign(forth[:, 0] * back[:, 1] - forth[:, 1] * back[:, 0])
        step = along & (np.hypot(*forth.T) < 1.01) & np.roll(along, 1) & np.roll(along, -1)
        stepped += np.count_nonzero(step & (turn * np.roll(turn, -1) < 0))
        corners += len(xy)
    return sharp / corners, stepped / corners


@pytest.mark.parametrize("coarse", [1.5, 3, 6])
def test_the_default_leaves_hardly_a_spike_and_no_stairs(coarse: float) -> None:
    rings, _ = outlined(features.sieve(smooth_mask(256, coarse, seed=5), 4, connectivity=4))
    of_pixels = sharp_and_stepped(simplify_arcs(arcs := arcs_of(rings), 0, untouched(arcs)))
    sharp, stepped = sharp_and_stepped(worked(rings, DEFAULT)[1])
    assert of_pixels[0] == 0
    assert of_pixels[1] > 0.3
    assert sharp < 0.01
    assert stepped < 0.001


@pytest.mark.parametrize("run", [1, 2, 3, 4])
def test_a_bank_of_one_slope_is_one_line_from_end_to_end(run: int) -> None:
    rows, cols = np.indices((12, 12 * run))
    rings, _ = outlined((cols // run > rows).astype(np.uint8))
    shapes = polygons(worked(rings, DEFAULT)[1], rings)
    assert shapely.get_num_coordinates(shapes).max() <= 10, "the bank, its ends and the frame"
