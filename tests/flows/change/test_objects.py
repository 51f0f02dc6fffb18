"""What became of objects: the table of brute force, the same for every block, and drawn cases whose
answer is known."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import landweave as lw
from flows.change.map_pair import MapSource, Pair, align_maps
from flows.change.model import ObjectChange
from flows.change.object_change import change_objects
from flows.change.object_fates import KINDS, tell_fates
from flows.change.object_pairs import ObjectPair, Overlaps, count_overlaps
from flows.cli import app
from flows.requests.change import ChangeRequest
from tests.flows.change.test_detect import HERE, units_of, write
from tests.scenes import read
from tiling.errors import InputError
from tiling.grid.window import Window

pytestmark = pytest.mark.usefixtures("white_pictures")


def compare(
    earlier: Path, later: Path, out: Path, block: int = 1024, **wishes: Any
) -> ObjectChange:
    request = ChangeRequest(earlier=str(earlier), later=str(later), out=out, objects=True, **wishes)
    return change_objects(request, block=block)


def draw(path: Path, numbers: Any, **more: Any) -> Path:
    return write(path, numbers, dtype="uint32", **more)


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "objects.csv").read_text().splitlines()))


Row = tuple[str, int, int]


def by_brute_force(
    before: np.ndarray, now: np.ndarray, units: np.ndarray, overlap: int, difference: int
) -> Iterator[Row]:
    """Kind, number before and number now of all objects, from whole rasters, by the rule as it is
    written down."""
    a = {int(n): int(units[before == n].sum()) for n in np.unique(before) if n}
    b = {int(n): int(units[now == n].sum()) for n in np.unique(now) if n}
    both = {(i, j): int(units[(before == i) & (now == j)].sum()) for i, j in product(a, b)}
    both = {pair: area for pair, area in both.items() if area}

    def wholes(ours: dict[int, int], theirs: dict[int, int], *, turned: bool) -> Iterator[Any]:
        shared = {(j, i) if turned else (i, j): area for (i, j), area in both.items()}
        parts: dict[int, list[int]] = {}
        for part, area in theirs.items():
            holders = [(-n, i) for (i, j), n in shared.items() if j == part]
            if holders and -2 * min(holders)[0] >= area:
                parts.setdefault(min(holders)[1], []).append(part)
        for whole, several in parts.items():
            sizes = sorted((shared[whole, part] for part in several), reverse=True)
            enough = 2 * sum(sizes) >= ours[whole]
            if len(several) > 1 and enough and 100 * sum(sizes[1:]) >= difference * ours[whole]:
                first = min(several, key=lambda part: (-shared[whole, part], part))
                yield sum(sizes), whole, first, several

    asked = [(-n, 0, i, j, {i}, set(js)) for n, i, j, js in wholes(a, b, turned=False)]
    asked += [(-n, 1, i, j, set(js), {j}) for n, j, i, js in wholes(b, a, turned=True)]
    left = set(a), set(b)
    for _, merged, *_, was, now_there in sorted(asked, key=lambda one: one[:4]):
        if was <= left[0] and now_there <= left[1]:
            left[0].difference_update(was)
            left[1].difference_update(now_there)
            yield from (("merged" if merged else "split", i, j) for i in was for j in now_there)
    iou = {(i, j): Fraction(n, a[i] + b[j] - n) for (i, j), n in both.items()}
    for i, j in sorted(iou, key=lambda pair: (-iou[pair], *pair)):
        if i in left[0] and j in left[1] and 100 * iou[i, j] >= overlap:
            left[0].discard(i)
            left[1].discard(j)
            more = b[j] - a[i]
            small = not more or 100 * abs(more) < difference * a[i]
            yield "stayed" if small else "grew" if more > 0 else "shrank", i, j
    yield from (("appeared", 0, j) for j in left[1])
    yield from (("vanished", i, 0) for i in left[0])


def draw_days(folder: Path, seed: int, side: int) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """Numbers of two days that are alike here and there, and their rasters."""
    rng = np.random.default_rng(seed)
    most, coarse = int(rng.integers(1, 12)), -(-side // 4)
    before, now = (
        rng.integers(0, most, (coarse, coarse)).repeat(4, 0).repeat(4, 1)[:side, :side]
        for _ in range(2)
    )
    now = np.where(rng.random(now.shape) < 0.6, before * rng.integers(1, 3), now)
    before[0, 0] = now[0, 0] = 3_000_000_000
    return before, now, [draw(folder / f"{k}.tif", v) for k, v in (("a", before), ("b", now))]


@settings(max_examples=15)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.sampled_from([1, 5, 1024]),
    st.sampled_from([(50, 10), (10, 0), (34, 33)]),
)
def test_objects_become_what_brute_force_says_whatever_the_block_and_the_order(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    side: int,
    block: int,
    wishes: tuple[int, int],
) -> None:
    folder = tmp_path_factory.mktemp("objects")
    before, now, files = draw_days(folder, seed, side)
    sides = [MapSource(str(path), path.stem) for path in files]
    pair = ObjectPair.of(Pair(sides[0], sides[1], align_maps(*sides)), folder)
    blocks = list(Window.of_shape(side, side).blocks(block))
    np.random.default_rng(seed).shuffle(blocks)
    counts = Overlaps.of(map(partial(count_overlaps, pair), blocks))
    overlap, difference = wishes
    fates = tell_fates(counts, overlap=overlap, difference=difference)
    names = {value: name for value, name, _ in KINDS}
    found = [
        (names[int(fates.kind[group])], int(fates.number_before[group]), number)
        for number, group in zip(counts.after[:, 0].tolist(), fates.group_after, strict=True)
        if fates.n_before[group] <= 1
    ]
    found += [
        (names[int(fates.kind[group])], number, int(fates.number_after[group]))
        for number, group in zip(counts.before[:, 0].tolist(), fates.group_before, strict=True)
        if fates.n_before[group] > 1 or not fates.n_after[group]
    ]
    assert sorted(found) == sorted(
        by_brute_force(before, now, units_of(before.shape), overlap, difference)
    )


DRAWN = """
aa.bbbbb.cc.dd...
aa.bbbbb.cc.dd.e.
aa.bbbbb.cc.dd.e.
"""
DRAWN_NOW = """
aa.fffgg.hhhhh.i.
aa.fffgg.hhhhh.i.
aa.fffgg.hhhhh...
"""


def as_numbers(text: str) -> np.ndarray:
    rows = text.split()
    return np.array([[0 if sign == "." else ord(sign) - 96 for sign in row] for row in rows])


def test_drawn_objects_stay_split_merge_appear_and_vanish(tmp_path: Path) -> None:
    earlier, later = as_numbers(DRAWN), as_numbers(DRAWN_NOW)
    later[0, 16] = 10
    files = draw(tmp_path / "a.tif", earlier), draw(tmp_path / "b.tif", later)
    compare(*files, tmp_path / "out")
    table = {
        (row["kind"], row["number_before"], row["number_after"])
        for row in rows_of(tmp_path / "out")
    }
    assert table == {
        ("stayed", "1", "1"), ("split", "2", "6"), ("split", "2", "7"), ("merged", "3", "8"),
        ("merged", "4", "8"), ("vanished", "5", ""), ("appeared", "", "9"), ("appeared", "", "10"),
    }  # fmt: skip
    layer = pyogrio.read_dataframe(tmp_path / "out" / "change.gpkg", layer="change")
    merged = layer[layer.class_name == "merged"].iloc[0]
    assert (merged.n_before, merged.n_after, merged.number_before) == (2, 1, 3)
    assert merged.iou == pytest.approx(12 / 15)
    assert merged.difference_m2 == pytest.approx(merged.after_m2 - merged.before_m2)
    assert len(layer) == 8 - 1  # both parts of the merged one are drawn as what they became
    styles = pyogrio.read_dataframe(
        tmp_path / "out" / "change.gpkg", layer="layer_styles", read_geometry=False
    )
    assert 'label="merged"' in styles.styleQML[0]


def test_growth_is_told_from_the_earlier_area(tmp_path: Path) -> None:
    earlier, later = np.zeros((2, 3, 40), int)
    for number, (size, new) in enumerate([(10, 11), (10, 10), (10, 9)], 1):
        earlier[number - 1, :size] = later[number - 1, :new] = number
    files = draw(tmp_path / "a.tif", earlier), draw(tmp_path / "b.tif", later)
    compare(*files, tmp_path / "out", difference=5)
    assert [row["kind"] for row in rows_of(tmp_path / "out")] == ["grew", "stayed", "shrank"]
    compare(*files, tmp_path / "out", difference=50)
    assert {row["kind"] for row in rows_of(tmp_path / "out")} == {"stayed"}


def test_only_where_both_lie_objects_are_compared(tmp_path: Path) -> None:
    """The later raster goes on to the east; what lies there has not appeared, and an object across
    the edge has not grown."""
    whole = np.zeros((20, 40), int)
    whole[2:8, 10:30], whole[10:14, 25:30] = 1, 2
    files = draw(tmp_path / "a.tif", whole[:, :20]), draw(tmp_path / "b.tif", whole)
    compare(*files, tmp_path / "out")
    assert [(row["kind"], row["iou"]) for row in rows_of(tmp_path / "out")] == [
        ("stayed", "1.000000")
    ]
    turned = draw(tmp_path / "c.tif", whole[:, :20], transform=HERE @ Affine.scale(1.0000001, 1))
    compare(turned, files[1], tmp_path / "turned")
    assert [row["kind"] for row in rows_of(tmp_path / "turned")] == ["stayed"]


def test_every_block_leaves_the_same_bytes_and_the_raster_shows_every_object(
    tmp_path: Path,
) -> None:
    before, now, files = draw_days(tmp_path, 5, 40)
    units, held = units_of(before.shape), []
    for block in (9, 64):
        result = compare(*files, tmp_path / "out", block)
        names = "change.tif", "objects.csv", "change.csv"
        frame = pyogrio.read_dataframe(tmp_path / "out" / "change.gpkg", layer="change")
        held.append([*((tmp_path / "out" / name).read_bytes() for name in names), frame.to_json()])
    assert held[0] == held[1]
    assert sum(one.before for one in result.kinds) == np.unique(before[before > 0]).size
    assert sum(one.after_m2 for one in result.kinds) == units[now > 0].sum() * result.unit
    values = {name: value for value, name, _ in KINDS}
    expected = list(by_brute_force(before, now, units, 50, 10))
    became = {j: values[kind] for kind, _, j in expected}
    gone = {i: values[kind] for kind, i, j in expected if not j}
    painted = [
        became[j] if j else gone.get(i, 0) for i, j in zip(before.flat, now.flat, strict=True)
    ]
    np.testing.assert_array_equal(read(tmp_path / "out" / "change.tif").ravel(), painted)


def test_polygons_are_compared_on_the_pixels_of_the_other_day(tmp_path: Path) -> None:
    import geopandas
    import shapely

    numbers = np.zeros((20, 20), int)
    numbers[2:6, 2:6], numbers[10:14, 10:14] = 7, 9
    raster = draw(tmp_path / "a.tif", numbers)
    x, y = HERE @ (2, 2)
    shapes = [shapely.box(x, y - 40, x + 40, y), shapely.box(x + 130, y - 60, x + 160, y)]
    layer = tmp_path / "now.gpkg"
    frame = geopandas.GeoDataFrame({"class": ["Shed", "Barn"]}, geometry=shapes, crs="EPSG:32633")
    frame.to_file(layer)
    done = lw.change(raster, layer, tmp_path / "out", objects=True, workers=0)
    table = done.objects.set_index("kind")
    assert table.loc["stayed", ["number_before", "number_after"]].tolist() == [7, 1]
    assert table.loc["appeared", "class_after"] == "Barn"
    assert done.kinds.loc["vanished", "objects_before"] == 1
    assert "1 stayed" in repr(done)
    with pytest.raises(InputError, match="compares objects"):
        _ = done.matrix


@pytest.mark.slow
def test_two_layers_of_polygons_are_compared_as_their_areas_say(tmp_path: Path) -> None:
    """The oracle is shapely's: areas of polygons and of what two share."""
    import geopandas
    import shapely

    rng, west, north = np.random.default_rng(3), *HERE @ (0, 0)
    days = []
    for day in range(2):
        shapes = []
        for place in range(25):
            x, y = west + 300 * (place % 5), north - 300 * (place // 5)
            turn, *moved = rng.uniform(0, 20), *rng.uniform(0, 30, 2)
            wide, high = rng.uniform(80, 140, 2)
            shape = shapely.affinity.rotate(shapely.box(x, y - high, x + wide, y), turn)
            shapes.append(shapely.affinity.translate(shape, *moved))
        kept = shapes[day * 3 : 22 + day * 3]
        days.append(geopandas.GeoDataFrame(geometry=kept, crs="EPSG:32633"))
        days[-1].to_file(tmp_path / f"{day}.gpkg")
    files = tmp_path / "0.gpkg", tmp_path / "1.gpkg"
    held = []
    for block in (700, 1024):
        result = compare(*files, tmp_path / "out", block)
        names = "change.tif", "objects.csv", "change.csv"
        held.append([(tmp_path / "out" / name).read_bytes() for name in names])
    assert held[0] == held[1]
    assert result.aligned == "by pixels of 2 m on which both layers of polygons are drawn"
    seen = {
        (int(row["number_before"]), int(row["number_after"])): float(row["iou"])
        for row in rows_of(tmp_path / "out")
        if row["kind"] in ("stayed", "grew", "shrank")
    }
    true = {
        (i, j): was.intersection(now).area / was.union(now).area
        for i, was in enumerate(days[0].geometry, 1)
        for j, now in enumerate(days[1].geometry, 1)
    }
    clear = {pair for pair, iou in true.items() if iou >= 0.52}
    assert len(clear) > 5
    assert clear == {pair for pair, iou in seen.items() if iou >= 0.52}
    assert seen == pytest.approx({pair: true[pair] for pair in seen}, abs=0.02)


def test_a_change_of_objects_that_is_too_small_has_not_happened(tmp_path: Path) -> None:
    """Pixels of 100 m²: an object that grows by six of them, one that comes with four, one that
    goes with three, and three of twelve that are cut off another."""
    earlier, later = np.zeros((2, 9, 20), int)
    earlier[0, :12], later[0, :18] = 1, 1
    later[2, :4], earlier[4, :3] = 2, 3
    earlier[6, :12], later[6, :9], later[6, 9:12] = 4, 4, 5
    files = draw(tmp_path / "a.tif", earlier), draw(tmp_path / "b.tif", later)

    def kinds_from(pixels: float) -> dict[str, int]:
        result = compare(*files, tmp_path / "out", min_area=100 * pixels)
        kinds = {one.name: max(one.before, one.after) for one in result.kinds}
        table = [row["kind"] for row in rows_of(tmp_path / "out")]
        layer = pyogrio.read_dataframe(tmp_path / "out" / "change.gpkg", layer="change")
        assert sorted(table) == sorted(name for name, count in kinds.items() for _ in range(count))
        assert sorted(layer.class_name) == sorted(table)
        return {name: count for name, count in kinds.items() if count}

    assert kinds_from(0) == {"grew": 1, "split": 2, "appeared": 1, "vanished": 1}
    assert kinds_from(3.5) == {"grew": 1, "appeared": 1, "stayed": 1}
    assert kinds_from(5) == {"grew": 1, "stayed": 1}
    assert kinds_from(7) == {"stayed": 2}
    assert np.count_nonzero(read(tmp_path / "out" / "change.tif")) == 18 + 9
    assert "3 objects of 0.10 ha" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.tif", "b.tif", "--objects", "--min-confidence", "5"], "--min-confidence is for maps"),
        (["a.tif", "b.tif", "--overlap", "30"], "--overlap is for objects"),
        ([".", "b.tif", "--objects"], "holds no objects.tif"),
        (["a.tif", "b.tif", "--objects", "--column", "kind"], "has no layer with a column kind"),
        (["a.tif", "none.tif", "--objects"], "hold no object where both lie"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        draw(tmp_path / f"{name}.tif", np.eye(4))
    draw(tmp_path / "a.tif", np.zeros((4, 4)) if "none.tif" in words else np.eye(4))
    draw(tmp_path / "none.tif", np.zeros((4, 4)))
    result = CliRunner().invoke(app, ["change", *words, "--out", "out", "--workers", "0"])
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)
    assert not list(tmp_path.glob("out/change*"))
