"""Polygons as they are wished for: without small holes, of a largest area, Unknown where nobody is
sure."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from scipy.ndimage import gaussian_filter

from tests.conftest import Run
from tests.tiling.regions.sieving.test_fill_holes import CRS, PLACE

pytestmark = pytest.mark.usefixtures("white_pictures")

SIZE = 90
LEGEND = {1: (0, 90, 0, 255), 2: (0, 0, 200, 255), 3: (200, 200, 0, 255)}


def write(path: Path, values: np.ndarray, nodata: int) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", height=SIZE, width=SIZE, count=1, dtype="uint8", crs=CRS,
        nodata=nodata, transform=PLACE,
    ) as target:  # fmt: skip
        target.write(values.astype(np.uint8), 1)
        if nodata == 0:
            target.write_colormap(1, LEGEND)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A map of three classes with a corner of no data, and how sure it is."""
    rng = np.random.default_rng(8)
    layers = np.stack([gaussian_filter(rng.normal(size=(SIZE, SIZE)), 1.5) for _ in range(3)])
    layers[0] += 0.06
    classes = layers.argmax(0) + 1
    classes[:9, :9] = 0
    write(tmp_path / "classes.tif", classes, 0)
    write(tmp_path / "confidence.tif", rng.integers(20, 101, (SIZE, SIZE)), 255)
    return tmp_path


def polygons(landweave: Run, run: Path, *wishes: object) -> geopandas.GeoDataFrame:
    """The polygons of a map, which are a valid coverage of its pixels that have a class."""
    arguments = (run / "classes.tif", "--out", run / "out.gpkg", "--simplify", 0, "--workers", 0)
    status, said, mistake = landweave("vectorise", *arguments, "--json", *wishes)
    assert status == 0, mistake
    frame = geopandas.read_file(run / "out.gpkg", layer="landcover")
    assert json.loads(said)["features"] == len(frame)
    assert frame.is_valid.all()
    assert shapely.coverage_is_valid(frame.geometry.to_numpy())
    counted = SIZE * SIZE - 81
    assert frame.n_pixels.sum() == counted
    assert frame.area.sum() == pytest.approx(100 * counted)
    return frame


def holes_of(frame: geopandas.GeoDataFrame) -> np.ndarray:
    """Areas of all holes."""
    rings = [shapely.Polygon(ring) for one in frame.geometry for ring in one.interiors]
    return shapely.area(np.array(rings, object))


def test_no_hole_below_the_area_is_left_and_larger_ones_stay(landweave: Run, run: Path) -> None:
    before = holes_of(polygons(landweave, run))
    after = holes_of(polygons(landweave, run, "--fill-holes", 2050))
    assert (before < 2050).any()
    assert (before >= 2050).any()
    assert (after >= 2050).all()
    assert set(after) <= set(before)


def test_no_polygon_is_larger_than_asked_and_classes_keep_their_areas(
    landweave: Run, run: Path
) -> None:
    whole, cut = polygons(landweave, run), polygons(landweave, run, "--max-area", 40_000)
    assert whole.area.max() > 40_000
    assert cut.area.max() <= 40_000
    small = whole[whole.area <= 39_900]
    same = small.merge(cut, on=["region_id", "class_id", "n_pixels"], suffixes=("", "_cut"))
    assert len(same) == len(small)
    assert shapely.equals(same.geometry.to_numpy(), same.geometry_cut.to_numpy()).all()
    for frame in (whole, cut):
        frame["size"] = frame.area
    assert (
        whole.groupby("class_name")["size"].sum().round(3).to_dict()
        == cut.groupby("class_name")["size"].sum().round(3).to_dict()
    )
    with_holes = polygons(
        landweave, run, "--max-area", 40_000, "--fill-holes", 2050, "--connectivity", 8
    )
    assert with_holes.area.max() <= 80_000  # parts that touch at a corner are one feature


def test_unsure_pixels_are_unknown(landweave: Run, run: Path) -> None:
    frame = polygons(landweave, run, "--unknown-below", 40)
    with rasterio.open(run / "classes.tif") as one, rasterio.open(run / "confidence.tif") as two:
        unsure = (one.read(1) > 0) & (two.read(1) < 40)
    unknown = frame[frame.class_name == "Unknown"]
    assert set(unknown.class_id) == {254}
    assert unknown.n_pixels.sum() == unsure.sum() > 0
    assert unknown.confidence.max() < 40


def test_what_cannot_be_is_one_line(landweave: Run, run: Path) -> None:
    places = ("vectorise", run / "classes.tif", "--out", run / "out.gpkg")
    for wishes, line in (
        (("--dissolve", "--max-area", 100), "--dissolve joins what --max-area cuts"),
        (("--unknown-below", 40, "--confidence", run / "no.tif"), "no.tif does not exist"),
    ):
        status, _, mistake = landweave(*places, *wishes)
        assert status == 2
        assert line in mistake
        assert mistake.count("\n") == 1
    with rasterio.open(run / "confidence.tif", "r+") as target:
        target.transform = target.transform @ rasterio.Affine.translation(1, 0)
    status, _, mistake = landweave(*places, "--unknown-below", 40)
    assert (status, "does not lie on the grid" in mistake) == (2, True)
