"""Facts about the smallest region that the products show."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from flows.parsing import validate
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.rules import Rules
from tests.conftest import Run
from tests.scenes import draw_pixels, read, write_scene
from tests.tiling.rasters import label
from tiling.errors import InputError
from tiling.regions.sieving.fill_holes import fill_holes
from tiling.regions.sieving.sieve import sieve

pytestmark = pytest.mark.usefixtures("white_pictures")

PIXEL = 100
"""m² on the map; on the ground a little more, in the middle of a UTM zone."""


def run(scene: Path, out: Path, min_area: float | None = 0.0, **options: object) -> Path:
    request = Request(
        source=Source(paths=(str(scene),)), out=out, segmenter=Rules(), min_area=min_area, **options
    )
    pipeline.run(request)
    return out


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = draw_pixels(96, 120, seed=5)
    pixels[:, 30:33, 40:44] = pixels[:, 5:6, 5:6]  # 12 px of something else than what is around
    return write_scene(tmp_path_factory.mktemp("min-area") / "scene.tif", pixels)


def test_raster_vectors_and_table_agree_on_what_is_large_enough(
    scene: Path, tmp_path: Path
) -> None:
    every = run(scene, tmp_path / "every")
    large = run(scene, tmp_path / "large", 20 * PIXEL)
    before, after = read(every / "classes.tif"), read(large / "classes.tif")
    assert label(after)[1].size < label(before)[1].size
    expected = read(sieve(every / "classes.tif", tmp_path / "sieved.tif", minimum=20 * PIXEL))
    np.testing.assert_array_equal(after, expected)
    np.testing.assert_array_equal(after == 0, before == 0)
    assert (large / "confidence.tif").read_bytes() == (every / "confidence.tif").read_bytes(), (
        "confidence stays"
    )

    frame = geopandas.read_file(large / "landcover.gpkg", layer="landcover")
    labels, first = label(after)
    shown = after.ravel()[first] > 0
    assert sorted(frame.region_id) == sorted(first[shown])
    assert sorted(frame.n_pixels) == sorted(np.bincount(labels.ravel())[shown])
    with (large / "areas.csv").open(encoding="utf-8") as table:
        counted = {int(row["class_id"]): int(row["pixels"]) for row in csv.DictReader(table)}
    assert counted == {
        int(value): int((after == value).sum()) for value in np.unique(after[after > 0])
    }
    with rasterio.open(large / "classes.tif") as raster:
        assert raster.colormap(1)[1][3] == 255, "it keeps its colours"
    record = json.loads((large / "run.json").read_text(encoding="utf-8"))["request"]
    assert (record["min_area"], record["min_area_rule"]) == (2000, "longest-border")


def test_holes_and_largest_areas_are_those_of_vectorise(
    scene: Path, tmp_path: Path, landweave: Run
) -> None:
    wishes = {"fill_holes": 40.5 * PIXEL, "max_area": 300.5 * PIXEL}
    every = run(scene, tmp_path / "every", 5 * PIXEL)
    wished = run(scene, tmp_path / "wished", 5 * PIXEL, shard=37, **wishes)
    typed = ("--fill-holes", wishes["fill_holes"], "--max-area", wishes["max_area"])
    arguments = (every / "classes.tif", "--out", tmp_path / "expected.gpkg", *typed)
    assert landweave("vectorise", *arguments)[0] == 0

    filled = read(
        fill_holes(every / "classes.tif", tmp_path / "filled.tif", minimum=wishes["fill_holes"])
    )
    assert (filled != read(every / "classes.tif")).any()
    np.testing.assert_array_equal(read(wished / "classes.tif"), filled)
    found, expected = (
        geopandas.read_file(path, layer="landcover")
        for path in (wished / "landcover.gpkg", tmp_path / "expected.gpkg")
    )
    before = geopandas.read_file(every / "landcover.gpkg", layer="landcover")
    assert found.n_pixels.max() <= 300 < before.n_pixels.max()
    columns = ["region_id", "class_id", "class_name", "n_pixels"]
    assert found[columns].equals(expected[columns])
    assert shapely.equals_exact(found.geometry.to_numpy(), expected.geometry.to_numpy()).all()
    record = json.loads((wished / "run.json").read_text(encoding="utf-8"))["request"]
    assert {name: record[name] for name in wishes} == wishes


def test_a_minimum_changes_no_part(scene: Path, tmp_path: Path) -> None:
    out = run(scene, tmp_path / "out", products=("classes",))
    parts = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.tif")}
    run(scene, out, 50 * PIXEL, min_area_rule="largest", products=("classes",))
    assert parts == {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.tif")}


def test_the_minimum_counts_what_the_area_of_interest_leaves(scene: Path, tmp_path: Path) -> None:
    outline = tmp_path / "half.geojson"
    west, north = 500_000, 5_300_000
    corners = [(0, 0), (600, 0), (600, 480), (0, 480), (0, 0)]
    ring = [[west + x, north - y] for x, y in corners]
    geopandas.GeoDataFrame.from_features(
        [
            {
                "type": "Feature",
                "properties": {},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        ],
        crs="EPSG:32633",
    ).to_file(outline)
    masked = run(scene, tmp_path / "masked", aoi=str(outline), products=("classes",))
    large = run(scene, tmp_path / "large", 30 * PIXEL, aoi=str(outline), products=("classes",))
    expected = read(sieve(masked / "classes.tif", tmp_path / "sieved.tif", minimum=30 * PIXEL))
    np.testing.assert_array_equal(read(large / "classes.tif"), expected)


def test_a_rule_that_does_not_exist_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        InputError,
        match=r"min_area_rule: Input should be 'longest-border' or 'largest', not 'smallest'",
    ):
        validate(
            Request,
            source={"paths": ["a.tif"]},
            out="out",
            segmenter=Rules(),
            min_area_rule="smallest",
        )


def test_below_four_pixels_nothing_is_shown_unless_asked_for(scene: Path, tmp_path: Path) -> None:
    every = run(scene, tmp_path / "every")
    default = run(scene, tmp_path / "default", None)
    expected = read(sieve(every / "classes.tif", tmp_path / "sieved.tif", minimum=4, unit="pixels"))
    np.testing.assert_array_equal(read(default / "classes.tif"), expected)
    assert (read(every / "classes.tif") != expected).any()


def test_the_closing_table_says_what_became_of_small_regions(
    scene: Path, tmp_path: Path, landweave: Run
) -> None:
    typed = ("segment", scene, "--out", tmp_path / "out", "--workers", 0, "--products", "classes")
    assert "below 4 pixels went to a neighbour; --min-area 0 keeps them" in landweave(*typed)[1]
    assert "below 900 m² went to a neighbour" in landweave(*typed, "--min-area", 900)[1]
    assert "every pixel is shown" in landweave(*typed, "--min-area", 0)[1]


def test_corners_are_cut_where_asked_for(scene: Path, tmp_path: Path) -> None:
    plain, smooth = (run(scene, tmp_path / str(rounds), None, smooth=rounds) for rounds in (0, 2))
    vertices = [
        geopandas.read_file(out / "landcover.gpkg", layer="landcover").count_coordinates().sum()
        for out in (plain, smooth)
    ]
    assert vertices[1] > 1.5 * vertices[0]


def test_legends_list_the_classes_that_are_on_the_map(scene: Path, tmp_path: Path) -> None:
    out = run(scene, tmp_path / "out")
    present = {str(value) for value in np.unique(read(out / "classes.tif")) if value}
    assert len(present) < len(Rules().legend.rows)
    with closing(sqlite3.connect(out / "landcover.gpkg")) as database:
        ((style,),) = database.execute("SELECT styleQML FROM layer_styles")
    for text, tag in ((style, "category"), ((out / "classes.qml").read_text(), "paletteEntry")):
        assert {entry.get("value") for entry in ET.fromstring(text).iter(tag)} == present
    project = ET.parse(out / "landcover.qgs")
    assert {entry.get("value") for entry in project.iter("category")} == present
    layers = {layer.findtext("layername"): layer for layer in project.iter("maplayer")}
    assert list(layers) == ["Polygons", "Raster", "Confidence", "Image"]
    assert layers["Image"].find("pipe/rasterrenderer").get("redBand") == "3"
    checked = {node.get("name"): node.get("checked") for node in project.iter("layer-tree-layer")}
    assert [name for name, state in checked.items() if state == "Qt::Checked"] == ["Polygons"]
    assert (out / "confidence.qml").exists()
