"""Layers from Python: change, polygons, zones."""

from __future__ import annotations

import inspect
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

import landweave as lw
from flows.requests.change import ChangeRequest
from flows.requests.maps import Vectorising
from tests.landweave.conftest import Demo


def test_change_takes_each_field_of_its_request() -> None:
    parameters = inspect.signature(lw.change).parameters
    assert parameters.keys() == {*ChangeRequest.model_fields, "workers", "progress"}
    assert all(
        parameters[name].default is None
        for name in parameters
        if name not in ("earlier", "later", "out")
    )


def test_vectorise_takes_each_field_of_its_request() -> None:
    asked = inspect.signature(lw.vectorise).parameters
    assert asked.keys() == {*Vectorising.model_fields} - {"map"} | {"raster", "workers", "progress"}


@pytest.mark.slow
def test_nothing_changed_between_a_map_and_itself_and_all_of_a_class_that_is_renamed(
    demo: Demo, tmp_path: Path
) -> None:
    same = lw.change(demo.run, demo.run, tmp_path / "same", workers=0)
    assert same.changed_m2 == 0
    assert np.trace(same.matrix.to_numpy()) == pytest.approx(same.compared_m2)
    later = lw.segment(demo.scene, tmp_path / "later", min_area=50_000, workers=0)
    changed = lw.change(
        demo.run, later.folder, tmp_path / "change", classes={"Water": ""}, workers=0
    )
    assert changed.matrix.to_numpy().sum() == pytest.approx(changed.compared_m2)
    assert changed.raster.shape == demo.run.classes.shape
    assert len(changed.polygons) == changed.result.polygons
    assert changed.changed_m2 > 0
    assert f"<Change: {changed.changed_m2 / 1e4:,.1f} of " in repr(changed)
    assert "data:image/png" in changed._repr_html_()


def test_polygons_cover_what_the_map_shows(demo: Demo, tmp_path: Path) -> None:
    layer = lw.vectorise(demo.run, tmp_path / "classes.parquet", simplify=0, workers=0)
    frame = layer.frame
    assert len(frame) == layer.features
    assert frame.area.sum() == pytest.approx(100 * np.count_nonzero(demo.run.classes.values))


def test_zones_carry_the_areas_of_classes(demo: Demo, tmp_path: Path) -> None:
    west, south, east, north = demo.run.classes.odc.geobox.boundingbox
    halves = [
        shapely.box(west, south, (west + east) / 2, north),
        shapely.box((west + east) / 2, south, east, north),
    ]
    gpd.GeoDataFrame({"name": ["a", "b"]}, geometry=halves, crs=32633).to_file(
        tmp_path / "zones.gpkg"
    )
    zones = lw.zones(demo.run, tmp_path / "zones.gpkg", tmp_path / "out.gpkg")
    assert zones.features == 2
    assert zones.frame.mapped_m2.sum() == pytest.approx(demo.run.areas.area_m2.sum(), rel=1e-6)
