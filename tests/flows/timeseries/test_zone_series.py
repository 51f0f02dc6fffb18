"""Indices in zones over time: exactextract's figures on the whole raster, however the work is
cut."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import permutations
from pathlib import Path
from typing import Any

import exactextract
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from exactextract.raster import NumPyRasterSource

from flows.compute.cluster import Cluster, start
from flows.compute.pool import ThisProcess
from flows.requests.dates.series import SeriesRequest
from flows.timeseries import publish
from flows.timeseries import run as series_run
from flows.timeseries.blocks import cut_grid
from flows.timeseries.run import open_series, run_series
from flows.timeseries.zone_figures import measure_zones, work_of
from segmentation.spectral import indices
from tests.flows.timeseries.drawn import DAYS, NAMES, SHAPE, draw_images, draw_zones
from tests.qgis import ask_qgis
from tests.tiling.rasters import UTM, write
from tiling.io.files import make_folder
from tiling.scene.from_files import open_scene

INDICES = ("NDVI", "NDMI")


@pytest.fixture(scope="module", autouse=True)
def few_charts() -> Iterator[None]:
    """Charts of two zones: they take most of the time of a small series."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "MOST_CHARTS", 2)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("series")


@pytest.fixture(scope="module")
def images(folder: Path) -> list[str]:
    return draw_images(folder)


@pytest.fixture(scope="module")
def shapes(folder: Path) -> list[shapely.Polygon]:
    return draw_zones(folder / "zones.gpkg")


def request(images: list[str], folder: Path, out: Path, **more: Any) -> SeriesRequest:
    zones = str(folder / "zones.gpkg")
    return SeriesRequest(scenes=tuple(images), names=INDICES, zones=zones, out=out, **more)


@pytest.fixture(scope="module")
def made(
    images: list[str], shapes: list[shapely.Polygon], folder: Path
) -> tuple[Path, pd.DataFrame]:
    plan = open_series(request(images, folder, folder / "out", column="name"))
    run_series(plan, ThisProcess(1))
    return folder / "out", pd.read_parquet(folder / "out" / "series.parquet")


def test_figures_are_those_of_exactextract_on_the_whole_raster(
    images: list[str], shapes: list[shapely.Polygon], made: tuple[Path, pd.DataFrame]
) -> None:
    _, table = made
    frame = gpd.GeoDataFrame(
        geometry=[shapely.transform(one, lambda xy: xy * [1, -1]) for one in shapes], crs=UTM
    )
    height, width = SHAPE
    for number, file in enumerate(images):
        scene = open_scene([file])
        chip = scene.read(scene.window, NAMES)
        for name in INDICES:
            values = np.round(indices.compute(name, chip).astype("f8") * 1e4) / 1e4
            source = NumPyRasterSource(
                values, xmin=0, ymin=-height, xmax=width, ymax=0, srs_wkt=frame.crs.to_wkt()
            )
            wanted = ["mean", "stdev", "count"]
            found = exactextract.exact_extract(source, frame, wanted, output="pandas")
            mine = table[(table["image"] == Path(file).stem) & (table["index"] == name)]
            seen = (found["count"] > 0).to_numpy()
            assert mine["zone"].tolist() == list(range(1, len(shapes) + 1))
            assert (mine["date"].astype(str) == DAYS[number]).all()
            np.testing.assert_array_equal(~np.isnan(mine["mean"]), seen)
            np.testing.assert_allclose(mine["mean"][seen], found["mean"][seen], atol=2e-6)
            np.testing.assert_allclose(mine["std"][seen], found["stdev"][seen], atol=2e-6)
            share = found["count"] / shapely.area(shapes)
            np.testing.assert_allclose(mine["valid_share"], share, atol=2e-6)


def test_quantiles_of_whole_pixels_are_numpys(
    images: list[str], folder: Path, tmp_path: Path
) -> None:
    box = shapely.box(500_100, 4_999_500, 500_500, 4_999_900)
    zones = tmp_path / "box.gpkg"
    gpd.GeoDataFrame(geometry=[box], crs="EPSG:32633").to_file(zones)
    asked = SeriesRequest(scenes=(images[0],), names=INDICES, zones=str(zones), out=tmp_path / "o")
    run_series(open_series(asked), ThisProcess(1))
    table = pd.read_csv(tmp_path / "o" / "series.csv")
    scene = open_scene([images[0]])
    for name in INDICES:
        values = indices.compute(name, scene.read(scene.window, NAMES))[10:50, 10:50]
        known = np.round(values[~np.isnan(values)].astype("f8") * 1e4) / 1e4
        cuts = np.quantile(known, [0.5, 0.1, 0.9], method="averaged_inverted_cdf")
        row = table[table["index"] == name].iloc[0]
        np.testing.assert_allclose([row["median"], row["p10"], row["p90"]], cuts, atol=1e-6)


def test_no_cut_no_order_and_no_workers_change_a_byte(
    images: list[str], folder: Path, made: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    out, _ = made
    whole = (out / "series.parquet").read_bytes(), (out / "series.csv").read_bytes()
    first, *others = images  # the first says the grid, and all have one
    orders = list(permutations(others))
    for cut, threads in enumerate((1, 3), start=1):
        order = (*orders[37 * cut], first)
        plan = open_series(request(list(order), folder, tmp_path / str(cut), column="name"))
        run_series(plan, ThisProcess(threads))
        again = tuple(
            (tmp_path / str(cut) / f"series.{kind}").read_bytes() for kind in ("parquet", "csv")
        )
        assert again == whole


@pytest.mark.parametrize("pixels", [1, 300, 2000])
def test_no_window_changes_a_bit(
    images: list[str], folder: Path, shapes: list[shapely.Polygon], tmp_path: Path, pixels: int
) -> None:
    plan = open_series(request(images, folder, tmp_path / "out"))
    assert plan.shapes is not None
    figures = [
        measure_zones(
            plan.images, plan.names, plan.shapes, tmp_path,
            make_folder(tmp_path / str(size)), pool, pixels=size,
        ).values
        for pool, size in ((ThisProcess(1), 10**6), (ThisProcess(2), pixels))
    ]  # fmt: skip
    np.testing.assert_array_equal(*figures)


@pytest.mark.slow
def test_worker_processes_measure_the_same(
    images: list[str], folder: Path, made: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    with start(Cluster(workers=1)) as pool:
        run_series(open_series(request(images, folder, tmp_path / "w", column="name")), pool)
    out, _ = made
    assert (tmp_path / "w" / "series.csv").read_bytes() == (out / "series.csv").read_bytes()


def test_windows_cut_no_block(images: list[str], folder: Path, tmp_path: Path) -> None:
    plan = open_series(request(images, folder, tmp_path / "out"))
    for pixels in (1, 16 * 16, 5000, 10**7):
        windows = cut_grid(plan.images, pixels)
        assert sum(window.area for window in windows) == SHAPE[0] * SHAPE[1]
        edges = [at for window in windows for at in (window.row, window.col)]
        assert not any(at % 16 for at in edges)
    strips = [
        write(tmp_path / f"{day}.tif", np.ones((2, 64, 48), "uint8"), names=("red", "nir"),
              tiled=False, blockysize=4)
        for day in DAYS[:2]
    ]  # fmt: skip
    asked = SeriesRequest(
        scenes=tuple(strips), names=("NDVI",), zones=str(folder / "zones.gpkg"), out=tmp_path / "o"
    )
    rows = cut_grid(open_series(asked).images, 48 * 10)
    assert {window.width for window in rows} == {48}
    assert {window.row % 4 for window in rows} == {0}


def test_many_dates_need_no_more_memory_than_one(
    images: list[str], shapes: list[shapely.Polygon], folder: Path, tmp_path: Path
) -> None:
    plan = open_series(request(images, folder, tmp_path / "out"))
    few = type(plan.images)(plan.images.scenes[:1], plan.images.bands)
    once, often = work_of(few, plan.names), work_of(plan.images, plan.names)
    assert once.worker_bytes(1) == often.worker_bytes(1) < 2**30
    assert often.pieces == 6 * once.pieces


def test_a_geopackage_has_the_zones_with_their_last_date_and_every_date(
    made: tuple[Path, pd.DataFrame],
) -> None:
    out, table = made
    zones = gpd.read_file(out / "series.gpkg", layer="zones")
    last = table[(table["index"] == "NDVI") & table["mean"].notna()].groupby("zone").last()
    known = zones["last_date"].notna().to_numpy()
    assert (np.flatnonzero(known) + 1).tolist() == last.index.tolist()
    np.testing.assert_allclose(zones["ndvi_mean"][known], last["mean"])
    assert zones["name"].tolist() == [f"field {number}" for number in range(len(zones))]
    layer = gpd.read_file(out / "series.gpkg", layer="NDMI")
    rows = table[(table["index"] == "NDMI") & table["mean"].notna()]
    layer = layer.sort_values(["zone", "date", "image"])
    assert layer["mean"].tolist() == rows["mean"].tolist()
    assert layer.geometry.iloc[0].equals(zones.geometry.iloc[layer["zone"].iloc[0] - 1])
    with closing(sqlite3.connect(out / "series.gpkg")) as database:
        count = database.execute("SELECT count(*) FROM series").fetchone()[0]
        assert count == len(table)
        (style,) = database.execute(
            "SELECT styleQML FROM layer_styles WHERE f_table_name = 'zones'"
        ).fetchone()
        assert 'attr="ndvi_mean"' in style
    assert {path.name for path in (out / "charts").iterdir()} == {"1.png", "2.png"}


@pytest.mark.qgis
def test_qgis_plays_the_layer_of_an_index_in_time(
    made: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    out, _ = made
    script = """
import json, sys
from qgis.core import QgsApplication, QgsVectorLayer
app = QgsApplication([], False); app.initQgis()
bare = QgsVectorLayer.LayerOptions(False)
layer = QgsVectorLayer(sys.argv[1] + "|layername=NDVI", "n", "ogr", bare)
layer.loadDefaultStyle()
time = layer.temporalProperties()
print(json.dumps([layer.isValid(), layer.featureCount() > 20, time.isActive(), time.startField(),
                  layer.renderer().type(), len(layer.renderer().ranges())]))
"""
    said = ask_qgis(script, str(out / "series.gpkg"), home=tmp_path)
    assert said == [True, True, True, "date", "graduatedSymbol", 8]


def test_what_fails_leaves_the_series_that_was_there(
    images: list[str], folder: Path, tmp_path: Path
) -> None:
    class Dies(ThisProcess):
        def map(self, function: Callable[[Any], Any], items: Any) -> Any:
            for number, item in enumerate(items):
                if number == 3:
                    raise OSError("killed")
                yield function(item)

    out = tmp_path / "out"
    run_series(open_series(request(images[:2], folder, out)), ThisProcess(1))
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    with pytest.raises(OSError, match="killed"):
        run_series(open_series(request(images, folder, out)), Dies())
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert after.pop(".parts")  # what is finished
    assert after == before


def test_a_kill_while_files_are_put_in_place_leaves_no_record(
    images: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run_series(open_series(request(images[:2], folder, out)), ThisProcess(1))
    assert (out / "series.json").exists()

    def die(*_: Any) -> str:
        raise OSError("killed")

    monkeypatch.setattr(series_run, "render_html", die)
    with pytest.raises(OSError, match="killed"):
        run_series(open_series(request(images[:2], folder, out)), ThisProcess(1))
    assert not (out / "series.json").exists()


@pytest.mark.slow
def test_the_command_takes_indices_between_commas_or_blanks(
    images: list[str], shapes: list[shapely.Polygon], folder: Path, tmp_path: Path, landweave: Any
) -> None:
    zones = folder / "zones.gpkg"
    tables = []
    for number, words in enumerate((["ndvi,NDMI"], ["NDVI", "NDMI"])):
        out = tmp_path / str(number)
        status, _, error = landweave(
            "series", *images[:2], "--index", *words, "--zones", zones, "-o", out, "--workers", "0"
        )
        assert (status, "warning" in error.lower()) == (0, False)
        tables.append((out / "series.csv").read_text())
    assert tables[0] == tables[1]
    page = (tmp_path / "0" / "report.html").read_text()
    assert "--index NDVI,NDMI" in page or "--index ndvi,NDMI" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{0}", "--index", "NDVI"), "nothing was asked for"),
        (("{0}", "--zones", "{zones}", "--index", "NDVIX"), "there is no index"),
        (("{0}", "--zones", "{zones}", "--index", "NDSI2"), "there is no index"),
        (("{0}", "--zones", "{zones}", "--index", "BAIS2"), "BAIS2 needs"),
        (("{undated}", "--zones", "{zones}", "--index", "NDVI"), "a series needs to know"),
        (("{undated}", "--date", "2024-01-01", "--zones", "{zones}", "--index", "EVI2"), "--scale"),
        (("{0}", "--zones", "{zones}", "--index", "NDVI", "--column", "id"), "it has name"),
        (("{0}", "{0}", "--zones", "{zones}", "--index", "NDVI"), "is given twice"),
        (("--index", "NDVI", "--zones", "{zones}", "NDMI"), "no image was named"),
    ],
)
def test_what_cannot_be_a_series_is_refused_in_a_line(
    images: list[str], shapes: list[shapely.Polygon], folder: Path, tmp_path: Path,
    landweave: Any, arguments: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    places = {
        "zones": folder / "zones.gpkg",
        "undated": write(tmp_path / "plain.tif", np.full((4, 9, 9), 7, "uint16"), names=NAMES),
    }
    asked = [one.format(*images, **places) for one in arguments]
    status, _, error = landweave("series", *asked, "--workers", "0", "-o", tmp_path / "out")
    assert (status, error.count("\n")) == (2, 1), error
    assert message in error
    assert not (tmp_path / "out").exists()
