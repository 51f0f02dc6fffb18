"""Images of several dates from Python: the files of the command line, and what comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import landweave as lw
from flows.timeseries import publish
from tests.flows.timeseries.drawn import draw_images, draw_zones


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return draw_images(tmp_path_factory.mktemp("dates"))


def test_a_composite_comes_back_as_a_scene(images: list[str], tmp_path: Path) -> None:
    made = lw.composite(images, tmp_path / "c.tif", method="best-clear=5", workers=0)
    assert made.bands == ("green", "red", "nir", "swir16")
    assert float(made.data.sel(band="nir").max()) < 1


def test_a_series_comes_back_as_a_table_and_rasters(
    images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "MOST_CHARTS", 0)
    shapes = draw_zones(tmp_path / "zones.gpkg")
    made = lw.series(
        images, ["NDVI"], tmp_path / "out", zones=tmp_path / "zones.gpkg", pixels=True, workers=0
    )
    assert len(made.table) == len(images) * len(shapes)
    slope = made.rasters["NDVI"].sel(band="band_6").values
    assert np.isfinite(slope).any()


def test_a_series_without_zones_has_no_table(images: list[str], tmp_path: Path) -> None:
    made = lw.series(images, "NDVI", tmp_path / "out", pixels=True, workers=0)
    assert made.table.empty
    with pytest.raises(lw.InputError, match="nothing was asked for"):
        lw.series(images, "NDVI", tmp_path / "other")
