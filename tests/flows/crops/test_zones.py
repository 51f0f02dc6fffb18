"""Zones inside fields: the same bytes however the work is cut, and what is drawn comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

from flows.compute.pool import ThisProcess
from flows.crops import publish, run, zone_pixels
from flows.crops.run import open_crops, run_crops
from flows.requests.crops.request import CropsRequest
from flows.requests.crops.zoning import Zoning
from segmentation.classical.field_zones import fit_zones
from tests.flows.crops.drawn import AWAY, NAMES, TINY, draw_fields, draw_images
from tests.killed import Killed
from tests.tiling.rasters import UTM, write
from tiling.errors import InputError

FILES = ("zones.tif", "zones.csv")


@pytest.fixture(scope="module", autouse=True)
def no_pictures() -> Iterator[None]:
    """No charts and no map, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "CHARTS", 0)
        patch.setattr(run, "draw_map", lambda *_: None)
        patch.setattr(run, "draw_zones", lambda *_: None)
        patch.setattr(publish, "draw_crops", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zones")
    draw_fields(folder / "fields.gpkg")
    return folder


@pytest.fixture(scope="module")
def images(folder: Path) -> list[str]:
    return draw_images(folder)


def ask(images: list[str], folder: Path, out: Path, **more: Any) -> CropsRequest:
    zoning = Zoning(**({"zones": 3, "zone_area": 0.05, "rates": "120,100,80"} | more))
    return CropsRequest(
        scenes=tuple(images), fields=str(folder / "fields.gpkg"), out=out, names=("NDVI",),
        crop="crop", zoning=zoning,
    )  # fmt: skip


def zones_in(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = {name: (out / name).read_bytes() for name in FILES}
    frame = gpd.read_file(out / "zones.gpkg", layer="zones")
    found["zones.gpkg"] = (
        frame.drop(columns="geometry").to_csv(),
        frame.to_wkb()["geometry"].tolist(),
    )
    return found


@pytest.fixture(scope="module")
def made(images: list[str], folder: Path) -> Path:
    run_crops(open_crops(ask(images, folder, folder / "out", shapefile=True)), ThisProcess(1))
    return folder / "out"


@pytest.fixture(scope="module")
def whole(made: Path) -> dict[str, Any]:
    return zones_in(made)


@pytest.mark.parametrize("pixels", [300, 2000])
def test_no_window_no_order_and_no_workers_change_a_byte(
    images: list[str], folder: Path, whole: dict[str, Any], tmp_path: Path, pixels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(zone_pixels.zone_windows, "__kwdefaults__", {"pixels": pixels})
    monkeypatch.setattr(zone_pixels, "BUCKET", 500)
    order = [images[0], *images[:0:-1]]
    run_crops(open_crops(ask(order, folder, tmp_path / "out")), ThisProcess(3))
    assert zones_in(tmp_path / "out") == whole


@pytest.mark.parametrize("stage", ["sample", "zones"])
def test_a_run_that_was_killed_goes_on(
    images: list[str], folder: Path, whole: dict[str, Any], tmp_path: Path, stage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(zone_pixels.zone_windows, "__kwdefaults__", {"pixels": 2000})
    computed: list[Any] = []
    for name in ("_fit", "_zone_window"):
        work: Any = getattr(zone_pixels, name)

        def count(*given: Any, work: Any = work, name: str = name) -> Any:
            made = work(*given)
            computed.append(given[-1][1] if name == "_zone_window" else name)
            return made

        monkeypatch.setattr(zone_pixels, name, count)

    def kill(name: str, done: int, _: int) -> None:
        if (name, done) == (stage, 2):
            raise Killed(name)

    request = ask(images, folder, tmp_path / "out")
    with pytest.raises(Killed):
        run_crops(open_crops(request), ThisProcess(1), kill)
    assert not (tmp_path / "out" / "crops.json").exists()
    assert (len(computed) > 2) == (stage == "zones")
    run_crops(open_crops(request), ThisProcess(1))
    assert len(computed) == len({*computed}) > 6  # one fit, and each window once
    assert zones_in(tmp_path / "out") == whole
    assert not (tmp_path / "out" / ".parts").exists()


@pytest.mark.slow
def test_a_large_field_is_fitted_on_a_lattice_whatever_the_windows(
    images: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone_pixels, "MOST", 40)
    found = []
    for pixels in (300, 2**20):
        monkeypatch.setattr(zone_pixels.zone_windows, "__kwdefaults__", {"pixels": pixels})
        out = tmp_path / str(pixels)
        run_crops(open_crops(ask(images, folder, out, zone_method="gaussian-mixture")),
                  ThisProcess(2))  # fmt: skip
        found.append(zones_in(out))
    assert found[0] == found[1]


def test_zones_are_those_of_a_fit_on_the_field_alone_from_weak_to_strong(
    images: list[str], folder: Path, tmp_path: Path
) -> None:
    run_crops(open_crops(ask(images, folder, tmp_path / "out", zone_area=0)), ThisProcess(1))
    values = []
    for file in images:
        with rasterio.open(file) as source:
            red, nir = source.read([1, 2]).astype(float)[:, 40:60, 60:80] / 1e4
        values.append(np.rint((nir - red) / (nir + red) * 1e4).ravel())
    stack = np.stack(values).astype(np.int64)
    expected = fit_zones(stack, 3).assign(stack)
    with rasterio.open(tmp_path / "out" / "zones.tif") as raster:
        found = raster.read(1)
    assert np.mean(found[40:60, 60:80].ravel() == expected) > 0.99  # indices are of 32 bits
    table = pd.read_csv(tmp_path / "out" / "zones.csv")
    assert (table.groupby("field")["mean_index"].diff().dropna() > 0).all()


def test_parts_are_as_large_as_they_should_be_and_areas_rates_and_amounts_agree(
    made: Path,
) -> None:
    frame, table = (
        gpd.read_file(made / "zones.gpkg", layer="zones"),
        pd.read_csv(made / "zones.csv"),
    )
    parts = frame.explode()
    sizes = parts.area.groupby(parts["field"]).min()
    assert sizes.min() >= 500 * 0.995  # on the map; the ellipsoid's is a little more
    with rasterio.open(made / "zones.tif") as raster:
        pixels = raster.read(1)
        assert (raster.nodata, raster.dtypes[0]) == (0, "uint8")
    assert frame["area_ha"].sum() == pytest.approx((pixels > 0).sum() / 100, rel=2e-3)
    assert not {AWAY + 1, TINY + 1} & {*frame["field"]}
    assert (frame["rate"] == frame["class_id"].map({1: 120, 2: 100, 3: 80})).all()
    np.testing.assert_allclose(frame["amount"], frame["rate"] * frame["area_m2"] / 1e4, atol=6e-4)
    assert frame["class_name"][0] == "zone 1 (weakest)"
    assert table["zone"].tolist() == frame["class_id"].tolist()
    shape = gpd.read_file(made / "zones.shp")
    assert shape["amount"].sum() == pytest.approx(frame["amount"].sum())


def test_zones_of_neighbours_are_never_one(tmp_path: Path) -> None:
    strips = np.tile([3000, 3000, 3000, 5000, 5000, 5000], (12, 1)).repeat(2, axis=1)
    strips[4:6, 5] = 3000  # an island of the left field's colour in the right one
    pixels = np.stack([np.full_like(strips, 1000), strips]).astype("uint16")
    pixels[1, :, ::4] += 300
    image = write(tmp_path / "a_2024-06-01.tif", pixels, names=NAMES[:2], scale=1e-4)
    boxes = [shapely.box(0, 0, 4, 12), shapely.box(4, 0, 12, 12)]
    placed = shapely.transform(
        np.array(boxes, object), lambda xy: xy * [10, -10] + [500_000, 5_000_000]
    )
    gpd.GeoDataFrame(geometry=placed, crs=UTM).to_file(tmp_path / "fields.gpkg")
    asked = ask([image], tmp_path, tmp_path / "out", zones=2, zone_area=0.2, rates="")
    request = asked.model_copy(update={"crop": ""})
    run_crops(open_crops(request), ThisProcess(1))
    frame = gpd.read_file(tmp_path / "out" / "zones.gpkg", layer="zones")
    assert {*frame["field"]} == {1, 2}
    for number, box in enumerate(placed, start=1):
        union = shapely.union_all(frame.geometry[frame["field"] == number].to_numpy())
        assert shapely.area(shapely.symmetric_difference(union, box)) == pytest.approx(0, abs=1e-3)


def test_rates_that_do_not_fit_are_one_line(
    images: list[str], folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "rates.csv"
    table.write_text("zone,rate,unit\n2,30,m3/ha\n1,40,m3/ha\n")
    assert Zoning(zones=2, rates=str(table)).table == ((40.0, "m3/ha"), (30.0, "m3/ha"))
    for rates, words in (
        ("120,100", "gives 2 rates for 3 zones"),
        ("120,x,80", "--rates: 'x' is no number"),
        ("120,-1,80", "a number from 0 on"),
        ("none.csv", "cannot be read as a table of rates"),
    ):
        with pytest.raises(InputError, match=words):
            open_crops(ask(images, folder, tmp_path / "out", rates=rates))
    with pytest.raises(InputError, match="per hectare"):
        open_crops(ask(images, folder, tmp_path / "out", rate_unit="kg"))
    table.write_text("zone,rate\n1,40\n3,30\n")
    with pytest.raises(InputError, match="has not the zones 1 to 2"):
        open_crops(ask(images, folder, tmp_path / "out", rates=str(table)))
    with pytest.raises(InputError, match="for no zones"):
        open_crops(ask(images, folder, tmp_path / "out", zones=None))
