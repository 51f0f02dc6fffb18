"""What became of what: sums that close to the last bit, whatever the blocks; grids laid on each
other in the open."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject
from scipy.ndimage import label
from typer.testing import CliRunner

from flows.change.detect import change
from flows.change.model import Change
from flows.change.publish import code_legend
from flows.cli import app
from flows.requests.change import ChangeRequest
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.rules import Rules
from tests.scenes import read
from tiling.classmaps.legend import legend_of
from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window

pytestmark = pytest.mark.usefixtures("white_pictures")

CRS = "EPSG:32633"
HERE = Affine(10, 0, 5e5, 0, -10, 5e6)
NAMES = {1: "Water", 2: "Forest", 5: "Town"}


def write(
    path: Path,
    values: Any,
    *,
    transform: Affine = HERE,
    names: dict[int, str] | None = None,
    nodata: int | None = 0,
    dtype: str = "uint8",
    crs: str = CRS,
) -> Path:
    """A class raster; with `names` also the sidecar that carries them."""
    values = np.asarray(values, dtype)
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype=dtype, crs=crs,
        transform=transform,
        nodata=nodata,
    ) as target:  # fmt: skip
        target.write(values, 1)
    if names:
        listed = "".join(
            f"<Category>{names.get(value, '')}</Category>" for value in range(max(names) + 1)
        )
        path.with_name(f"{path.name}.aux.xml").write_text(
            "<PAMDataset><PAMRasterBand "
            f'band="1"><CategoryNames>{listed}</CategoryNames></PAMRasterBand></PAMDataset>'
        )
    return path


def compare(earlier: Path, later: Path, out: Path, block: int = 1024, **settings: Any) -> Change:
    return change(
        ChangeRequest(earlier=str(earlier), later=str(later), out=out, **settings), block=block
    )


def units_of(shape: Sequence[int], transform: Affine = HERE, crs: str = CRS) -> np.ndarray:
    return PixelAreas(GeoBox(tuple(shape), transform, crs)).read(Window.of_shape(*shape))


# --------------------------------------------------------------------------------------------- sums


@settings(max_examples=6)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([3, 7, 16, 1024]),
)
def test_the_matrix_is_that_of_brute_force_whatever_the_block(
    tmp_path_factory: pytest.TempPathFactory, seed: int, height: int, width: int, block: int
) -> None:
    folder, rng = tmp_path_factory.mktemp("change"), np.random.default_rng(seed)
    before, now = rng.choice([0, 1, 2, 5], (2, height, width), p=[0.1, 0.3, 0.3, 0.3])
    before[0, 0] = now[0, 0] = 2
    files = [write(folder / f"{k}.tif", v, names=NAMES) for k, v in (("a", before), ("b", now))]
    result = compare(*files, folder / "out", block)
    units = units_of(before.shape)
    for i, (one, _, _) in enumerate(result.classes):
        for j, (other, _, _) in enumerate(result.classes):
            here = (before == one) & (now == other)
            assert result.pixels[i, j] == np.count_nonzero(here)
            assert result.units[i, j] == units[here].sum()
    both = (before > 0) & (now > 0)
    expected = np.where(both, before * 100 + now, 0)
    np.testing.assert_array_equal(read(folder / "out" / "change.tif"), expected)


def test_areas_in_the_table_add_up_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    before, now = rng.choice([0, 1, 2, 5], (2, 150, 130))
    transform, crs = Affine(3e-4, 0, 12.3, 0, -3e-4, 47.9), "EPSG:4326"
    files = [
        write(tmp_path / f"{k}.tif", v, names=NAMES, transform=transform, crs=crs)
        for k, v in (("a", before), ("b", now))
    ]
    result = compare(*files, tmp_path / "out", 37)
    unit = PixelAreas(GeoBox(before.shape, transform, crs)).unit
    units = units_of(before.shape, transform, crs)
    with open(tmp_path / "out" / "transition.csv", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    for value in (1, 2, 5):
        left = sum(float(row["area_m2"]) for row in rows if int(row["from_id"]) == value)
        assert left == units[(before == value) & (now > 0)].sum() * unit
        came = sum(float(row["area_m2"]) for row in rows if int(row["to_id"]) == value)
        assert came == units[(now == value) & (before > 0)].sum() * unit
    # what is in the matrix and what is left out is all that either map holds
    out = {why: area for why, (_, area) in result.left_out.items()}
    assert result.compared_m2 + out["no data in the later map"] == units[before > 0].sum() * unit
    assert result.compared_m2 + out["no data in the earlier map"] == units[now > 0].sum() * unit


def test_polygons_show_what_changed_and_nothing_else(tmp_path: Path) -> None:
    before = np.full((8, 10), 2)
    now = before.copy()
    now[2:5, 3:7], now[6, 9], before[0, 0] = 5, 1, 0
    files = [write(tmp_path / f"{k}.tif", v, names=NAMES) for k, v in (("a", before), ("b", now))]
    result = compare(*files, tmp_path / "out", simplify=0)
    found = pyogrio.read_dataframe(tmp_path / "out" / "change.gpkg", layer="change")
    rows = found[["class_id", "from_name", "to_name", "class_name", "n_pixels"]].itertuples(
        index=False, name=None
    )
    assert sorted(rows) == [
        (201, "Forest", "Water", "Forest → Water", 1), (205, "Forest", "Town", "Forest → Town", 12),
    ]  # fmt: skip
    assert found.geometry.union_all().equals(
        shapely.union(
            shapely.box(5e5 + 30, 5e6 - 50, 5e5 + 70, 5e6 - 20),
            shapely.box(5e5 + 90, 5e6 - 70, 5e5 + 100, 5e6 - 60),
        )
    )
    assert found["area_m2"].sum() == pytest.approx(result.changed_m2, abs=1e-6)
    assert result.polygons == 2


def test_polygons_and_raster_and_matrix_agree(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    coarse = rng.choice([1, 2, 5], (2, 12, 12))
    before, now = (np.kron(part, np.ones((6, 6), int)) for part in coarse)
    files = [write(tmp_path / f"{k}.tif", v, names=NAMES) for k, v in (("a", before), ("b", now))]
    result = compare(*files, tmp_path / "out", 16)
    found = pyogrio.read_dataframe(tmp_path / "out" / "change.gpkg", layer="change")
    for i, j, pixels, metres in result.transitions():
        here = found[
            (found.from_name == result.classes[i][1]) & (found.to_name == result.classes[j][1])
        ]
        assert (here.n_pixels.sum(), here.area_m2.sum()) == (
            pixels,
            pytest.approx(metres, rel=1e-12),
        )


@pytest.mark.parametrize("block", [5, 1024])
def test_a_change_too_small_has_not_happened(tmp_path: Path, block: int) -> None:
    rng = np.random.default_rng(9)
    before, now = rng.choice([1, 2, 5], (2, 24, 24), p=[0.1, 0.8, 0.1])
    files = [write(tmp_path / f"{k}.tif", v, names=NAMES) for k, v in (("a", before), ("b", now))]
    result = compare(*files, tmp_path / "out", block, min_area=350.0)
    expected = before * 100 + now
    for code in np.unique(expected):
        regions, n = label(expected == code)
        for region in range(1, n + 1):
            here = regions == region
            if code % 101 and units_of(before.shape)[here].sum() * result.unit < 350:
                expected[here] = code // 100 * 101
    np.testing.assert_array_equal(read(tmp_path / "out" / "change.tif"), expected)
    found = pyogrio.read_dataframe(tmp_path / "out" / "change.gpkg", layer="change")
    assert found.empty or found["area_m2"].min() >= 350
    assert result.pixels.sum() == before.size
    assert result.pixels.sum(1).tolist() == [
        np.count_nonzero(before == value) for value in (1, 2, 5)
    ]
    set_aside = result.left_out["changes too small, counted as unchanged"][0]
    assert set_aside + result.pixels.sum() - np.trace(result.pixels) == np.count_nonzero(
        before != now
    )


def test_only_what_both_maps_are_sure_of_is_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    before, now = rng.choice([1, 2], (2, 9, 11))
    sure = rng.choice([10, 60, 90, 255], (2, 9, 11))
    for which, values, percent in zip("ab", (before, now), sure, strict=True):
        (tmp_path / which).mkdir()
        write(tmp_path / which / "classes.tif", values, names=NAMES)
        write(tmp_path / which / "confidence.tif", percent, nodata=255)
    result = compare(tmp_path / "a", tmp_path / "b", tmp_path / "out", 4, min_confidence=60)
    good = np.isin(sure[0], (60, 90)) & np.isin(sure[1], (60, 90))
    assert result.pixels.sum() == np.count_nonzero(good)
    assert result.left_out["not sure enough"][0] == np.count_nonzero(~good)
    np.testing.assert_array_equal(read(tmp_path / "out" / "change.tif") > 0, good)
    found = pyogrio.read_dataframe(tmp_path / "out" / "change.gpkg", layer="change")
    lower = np.minimum(*sure)[good & (before != now)]
    assert (found.confidence * found.n_pixels).sum() == pytest.approx(lower.sum())


# -------------------------------------------------------------------------------------------- grids


@pytest.mark.parametrize("block", [6, 1024])
@pytest.mark.parametrize(("dx", "dy"), [(2, -4), (-3, 1), (13, 21), (-27, -9), (0, 30)])
def test_grids_apart_pair_pixel_by_pixel_like_the_nearest_neighbour(
    tmp_path: Path, dx: float, dy: float, block: int
) -> None:
    rng = np.random.default_rng(2)
    before, now = rng.choice([1, 2, 5], (20, 17)), rng.choice([1, 2, 5], (18, 21))
    there = Affine(10, 0, 5e5 + dx, 0, -10, 5e6 + dy)
    files = [
        write(tmp_path / "a.tif", before, transform=there, names=NAMES), write(tmp_path / "b.tif",
        now, names=NAMES)
    ]  # fmt: skip
    result = compare(*files, tmp_path / "out", block)
    laid = np.zeros(now.shape, np.uint8)
    reproject(
        before.astype(np.uint8), laid, src_transform=there, src_crs=CRS, dst_transform=HERE,
        dst_crs=CRS,
        src_nodata=0, dst_nodata=0, resampling=Resampling.nearest,
    )  # fmt: skip
    np.testing.assert_array_equal(
        read(tmp_path / "out" / "change.tif"), np.where(laid, laid.astype(int) * 100 + now, 0)
    )
    assert "pair one to one" in result.aligned


def test_other_pixels_are_resampled_and_that_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    before, now = rng.choice([1, 2], (5, 5)), rng.choice([1, 2], (20, 20))
    files = [
        write(tmp_path / "a.tif", before, transform=HERE @ Affine.scale(4), names=NAMES),
        write(tmp_path / "b.tif", now, names=NAMES),
    ]
    result = compare(*files, tmp_path / "out", 8)
    laid = np.kron(before, np.ones((4, 4), int))
    np.testing.assert_array_equal(read(tmp_path / "out" / "change.tif"), laid * 100 + now)
    assert "nearest neighbour" in result.aligned
    assert any("counts about 16 times" in note for note in result.notes)


def test_a_much_finer_earlier_map_is_refused(tmp_path: Path) -> None:
    fine, coarse = write(tmp_path / "a.tif", np.ones((20, 20))), tmp_path / "b.tif"
    write(coarse, np.ones((5, 5)), transform=HERE @ Affine.scale(4))
    with pytest.raises(InputError, match="gdalwarp -r mode"):
        compare(fine, coarse, tmp_path / "out")


def test_maps_of_other_places_are_refused(tmp_path: Path) -> None:
    here = write(tmp_path / "a.tif", np.ones((5, 5)))
    there = write(tmp_path / "b.tif", np.ones((5, 5)), transform=Affine(10, 0, 6e5, 0, -10, 5e6))
    with pytest.raises(InputError, match="lie apart"):
        compare(here, there, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------ classes


def test_classes_agree_by_name_not_by_value(tmp_path: Path) -> None:
    a = write(tmp_path / "a.tif", [[7, 7, 3]], names={7: "forest", 3: "Water"})
    b = write(tmp_path / "b.tif", [[2, 1, 1]], names={1: "Water", 2: "Forest"})
    result = compare(a, b, tmp_path / "out")
    assert [row[:2] for row in result.classes] == [(1, "Water"), (2, "Forest")]
    assert result.pixels.tolist() == [[1, 0], [1, 1]]
    assert read(tmp_path / "out" / "change.tif").tolist() == [[202, 201, 101]]


def test_a_class_the_other_map_does_not_know_needs_a_word(tmp_path: Path) -> None:
    a = write(
        tmp_path / "a.tif", [[1, 2, 9]], names={1: "Water", 2: "Forest", 9: "Bare or built-up"}
    )
    b = write(
        tmp_path / "b.tif", [[1, 5, 6]], names={1: "Water", 2: "Forest", 5: "Bare", 6: "Town"}
    )
    with pytest.raises(InputError, match="--classes 'Bare or built-up=NAME'"):
        compare(a, b, tmp_path / "out")
    united = {"Bare or built-up": "Open", "Bare": "Open", "Town": "Open"}
    result = compare(a, b, tmp_path / "out", classes=united)
    assert [name for _, name, _ in result.classes] == ["Water", "Forest", "Open"]
    assert result.pixels.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    by_value = compare(a, b, tmp_path / "value", classes={"9": "6", "bare": "6"})
    assert ([name for _, name, _ in by_value.classes][-1], by_value.pixels.tolist()) == (
        "Town",
        result.pixels.tolist(),
    )
    left = compare(
        a, b, tmp_path / "left", classes={"Bare or built-up": "", "bare": "", "Town": ""}
    )
    assert left.pixels.sum() == 1
    assert left.left_out["classes left out"][0] == 2


def test_an_unknown_class_in_the_mapping_is_a_mistake(tmp_path: Path) -> None:
    a = write(tmp_path / "a.tif", [[1]], names=NAMES)
    with pytest.raises(
        InputError, match="neither map has a class Sand; there are Water, Forest, Town"
    ):
        compare(a, a, tmp_path / "out", classes={"Sand": "Water"})


def test_foreign_maps_may_hold_any_integers_and_zero_as_a_class(tmp_path: Path) -> None:
    before, now = [[0, 0, 111, -5, 32000]], [[0, 111, 111, 111, 32000]]
    a, b = (
        write(tmp_path / f"{k}.tif", v, dtype="int16", nodata=-5)
        for k, v in (("a", before), ("b", now))
    )
    result = compare(a, b, tmp_path / "out")
    assert [name for _, name, _ in result.classes] == ["0", "111", "32000"]
    assert result.pixels.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    again = compare(a, b, tmp_path / "again", nodata=0)
    assert again.pixels.sum() == 2


# ----------------------------------------------------------------------------------------- products


def test_every_figure_of_the_tables_by_hand(tmp_path: Path) -> None:
    """Pixels of 100 × 100 m on the equator of a cylinder: 10 of them, of which one was no data."""
    grid = {
        "transform": Affine(100, 0, 0, 0, -100, 0),
        "crs": "+proj=cea +ellps=WGS84 +units=m",
        "names": NAMES,
    }
    before = write(tmp_path / "a.tif", [[1, 1, 1, 1, 2, 2, 2, 5, 5, 0]], **grid)
    now = write(tmp_path / "b.tif", [[1, 2, 2, 5, 2, 2, 1, 5, 5, 5]], **grid)
    result = compare(before, now, tmp_path / "out")

    def cells(name: str) -> dict[tuple[str, ...], list[str]]:
        with open(tmp_path / "out" / name, encoding="utf-8") as text:
            return {
                tuple(row[:2]) if name == "change.csv" else tuple(row[:4]): row
                for row in csv.reader(text)
            }

    became = cells("transition.csv")
    assert next(iter(became.values())) == [
        "from_id", "from_name", "to_id", "to_name", "pixels", "area_m2", "area_ha", "share_percent",
    ]  # fmt: skip
    for pair, pixels in {
        ("1", "Water", "1", "Water"): 1,
        ("1", "Water", "2", "Forest"): 2,
        ("1", "Water", "5", "Town"): 1,
        ("2", "Forest", "1", "Water"): 1,
        ("2", "Forest", "2", "Forest"): 2,
        ("5", "Town", "5", "Town"): 2,
    }.items():
        row = became.pop(pair)
        assert row[4] == str(pixels)
        assert float(row[5]) == pytest.approx(pixels * 1e4, rel=1e-5)
        assert row[6:] == [f"{pixels:.4f}", f"{100 * pixels / 9:.4f}"]
    assert len(became) == 1
    assert [*cells("change.csv").values()] == [
        ["class_id", "class_name", "earlier_ha", "later_ha", "unchanged_ha", "lost_ha", "gained_ha",
        "net_ha",
         "net_percent"],
        ["1", "Water", "4.0000", "2.0000", "1.0000", "3.0000", "1.0000", "-2.0000", "-50.00"],
        ["2", "Forest", "3.0000", "4.0000", "2.0000", "1.0000", "2.0000", "1.0000", "33.33"],
        ["5", "Town", "2.0000", "3.0000", "2.0000", "0.0000", "1.0000", "1.0000", "50.00"],
    ]  # fmt: skip
    colours = {
        value: [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        for value, _, colour in code_legend(result)
    }
    table = ET.parse(tmp_path / "out" / "change.tif.aux.xml").find(".//GDALRasterAttributeTable")
    assert table is not None
    assert [column.findtext("Name") for column in table.iter("FieldDefn")] == [
        "Value", "Pixels", "From", "To", "Change", "Red", "Green", "Blue",
    ]  # fmt: skip
    assert [[cell.text for cell in row] for row in table.iter("Row")] == [
        [str(code), str(pixels), was, became, change, *map(str, colours[code])]
        for code, pixels, was, became, change in (
            (101, 1, "Water", "Water", "Water, unchanged"),
            (102, 2, "Water", "Forest", "Water → Forest"),
            (105, 1, "Water", "Town", "Water → Town"),
            (201, 1, "Forest", "Water", "Forest → Water"),
            (202, 2, "Forest", "Forest", "Forest, unchanged"),
            (505, 2, "Town", "Town", "Town, unchanged"),
        )
    ]


def test_gis_finds_names_and_colours_of_the_codes(tmp_path: Path) -> None:
    a, b = (
        write(tmp_path / f"{k}.tif", v, names=NAMES)
        for k, v in (("a", [[1, 2, 2]]), ("b", [[1, 5, 2]]))
    )
    result = compare(a, b, tmp_path / "out")
    rows = legend_of(tmp_path / "out" / "change.tif")
    assert [(value, name) for value, name, _ in rows if name != "Not compared"] == [
        (101, "Water, unchanged"), (202, "Forest, unchanged"), (205, "Forest → Town"),
    ]  # fmt: skip
    qml = ET.parse(tmp_path / "out" / "change.qml")
    shown = [(e.get("value"), e.get("label"), e.get("color")) for e in qml.iter("paletteEntry")]
    assert shown == [(str(value), name, colour) for value, name, colour in code_legend(result)]
    with rasterio.open(tmp_path / "out" / "change.tif") as source:
        assert (source.dtypes[0], source.nodata) == ("uint16", 0)
    project = ET.parse(tmp_path / "out" / "change.qgs")
    sources = [node.text for node in project.iter("datasource")]
    assert sources == ["./change.gpkg|layername=change", "./change.tif", "../b.tif", "../a.tif"]
    for source in sources:
        assert source is not None
        assert (tmp_path / "out" / source.partition("|")[0]).exists()


def test_the_record_goes_first_and_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (
        write(tmp_path / f"{k}.tif", v, names=NAMES) for k, v in (("a", [[1, 2]]), ("b", [[1, 5]]))
    )
    compare(a, b, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "change.json").read_text())
    assert record["pixels"] == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]

    def broken(*_: Any) -> None:
        raise OSError("power cut")

    monkeypatch.setattr("flows.change.figures.draw_maps", broken)
    with pytest.raises(OSError, match="power cut"):
        compare(a, b, tmp_path / "out")
    assert not (tmp_path / "out" / "change.json").exists()
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [".lock"]


# ---------------------------------------------------------------------------------------- real maps


def segmented(shared: Path, name: str, bands: dict[str, int], out: Path) -> Path:
    source = Source(paths=(str(shared / name),), bands=bands, scale=0.002)
    request = Request(
        source=source,
        out=out,
        segmenter=Rules(),
        products=("classes", "confidence"),
        preflight="warn",
    )
    return pipeline.run(request).folder


def test_the_forest_of_pucallpa_shrinks(shared_data: Path, tmp_path: Path) -> None:
    bands = {"swir16": 1, "nir": 2, "red": 3, "green": 4}
    runs = [
        segmented(shared_data, f"landsat_peru_series/{y}.tif", bands, tmp_path / str(y))
        for y in (1985, 2020)
    ]
    result = compare(*runs, tmp_path / "out", 256, min_area=20_000)
    names = [name for _, name, _ in result.classes]
    forest = names.index("Trees and dense vegetation")
    before, now = result.square_metres.sum(1)[forest], result.square_metres.sum(0)[forest]
    assert now < 0.75 * before
    i, j, _, _ = next(result.transitions())
    assert (names[i], names[j]) == ("Trees and dense vegetation", "Crops and grass")
    a, b = (read(run / "classes.tif") for run in runs)
    # neither snow nor cloud
    ground = [(classes > 0) & ~np.isin(classes, (7, 8)) for classes in (a, b)]
    assert result.pixels.sum() == np.count_nonzero(ground[0] & ground[1])


@pytest.mark.slow
def test_grids_one_pixel_apart_are_paired(shared_data: Path, tmp_path: Path) -> None:
    bands, stem = (
        {"red": 1, "green": 2, "blue": 3, "nir": 4},
        "naip_nd_multiyear/m_4709963_se_14_1_",
    )
    days = ("20170827", "20200831")
    runs = [segmented(shared_data, f"{stem}{day}.tif", bands, tmp_path / day) for day in days]
    result = compare(*runs, tmp_path / "out", 300, hidden=())
    a, b = (read(run / "classes.tif") for run in runs)
    assert (a.shape, b.shape) == ((724, 934), (723, 934))
    # 2020 begins 3 m (0.6 pixel) further west and 2 m (0.4 pixel) further south
    paired = np.zeros_like(b)
    paired[:, 1:] = a[:723, :-1]
    expected = np.where((paired > 0) & (b > 0), paired.astype(int) * 100 + b, 0)
    np.testing.assert_array_equal(read(tmp_path / "out" / "change.tif"), expected)
    assert "moved by 2.8 m" in result.aligned


# ------------------------------------------------------------------------------------- command line


def test_the_command_line_prints_what_became_of_what(tmp_path: Path) -> None:
    a, b = (
        write(tmp_path / f"{k}.tif", v, names=NAMES)
        for k, v in (("a", [[1, 2, 2]]), ("b", [[1, 5, 2]]))
    )
    command = ["change", str(a), str(b), "--out", str(tmp_path / "out"), "--workers", "0"]
    done = CliRunner().invoke(app, [*command, "--classes", "Town=Open,Water="])
    assert done.exit_code == 0, done.output
    assert "Forest" in done.output
    assert "classes left out" in done.output
    plain = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(plain.stdout)["pixels"] == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


# ---------------------------------------------------------------------------- what hides the ground

SKY = {1: "Water", 2: "Forest", 7: "Snow and ice", 8: "cloud"}


def test_what_hides_the_ground_is_not_compared_unless_someone_says_so(tmp_path: Path) -> None:
    earlier = write(tmp_path / "a.tif", [[1, 1, 2, 8, 7, 2]], names=SKY)
    later = write(tmp_path / "b.tif", [[1, 2, 8, 2, 2, 7]], names=SKY)
    plain = compare(earlier, later, tmp_path / "plain")
    assert [name for _, name, _ in plain.classes] == ["Water", "Forest"]
    assert plain.pixels.tolist() == [[1, 1], [0, 0]]
    assert plain.left_out["classes left out"][0] == 4
    assert plain.notes[0] == (
        "Cloud and Snow and ice hide the ground: not compared; --classes 'Cloud=Cloud' compares it"
    )
    for said in ({"Snow and ice": "Snow and ice"}, {"7": "7"}):
        snow = compare(earlier, later, tmp_path / "snow", classes=said)
        assert [name for _, name, _ in snow.classes] == ["Water", "Forest", "Snow and ice"]
        assert snow.pixels.sum() == 4
    assert compare(earlier, later, tmp_path / "all", hidden=()).pixels.sum() == 6


def test_two_maps_of_clouds_are_a_mistake(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.tif", [[8, 7]], names=SKY) for name in "ab"]
    with pytest.raises(
        InputError, match="nowhere both show a class to compare: Cloud, Snow and ice are left out"
    ):
        compare(*paths, tmp_path / "out")
