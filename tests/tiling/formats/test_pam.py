"""The `.aux.xml` beside a raster says to GDAL what was said here; its tables are read by QGIS's
GDAL in test_qgis."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio

from tiling.classmaps.legend import legend_of
from tiling.formats.pam import class_table, ramp_table, sidecar_text
from tiling.formats.qml import SURE

LEGEND = ((1, "Water", "#3b7dd8"), (3, "Trees & <shrubs>", "#2f7d3b"))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_names_come_back(tmp_path: Path) -> None:
    raster = tmp_path / "classes.tif"
    with rasterio.open(
        raster, "w", driver="GTiff", height=1, width=1, count=1, dtype="uint8", nodata=0
    ) as target:
        target.write(np.ones((1, 1, 1), np.uint8))
    Path(f"{raster}.aux.xml").write_text(
        sidecar_text({value: name for value, name, _ in LEGEND}), encoding="utf-8"
    )
    assert [(value, name) for value, name, _ in legend_of(raster)] == [
        (1, "Water"),
        (3, "Trees & <shrubs>"),
    ]
    Path(f"{raster}.aux.xml").write_text(class_table(LEGEND, {1: 1}), encoding="utf-8")
    assert [(value, name) for value, name, _ in legend_of(raster)] == [
        (1, "Water"),
        (3, "Trees & <shrubs>"),
    ]


def test_the_table_lists_what_occurs() -> None:
    rows = [
        [cell.text for cell in row]
        for row in ET.fromstring(class_table(LEGEND, {3: 7, 1: 0})).iter("Row")
    ]
    assert rows == [["3", "7", "Trees & <shrubs>", "47", "125", "59"]]


def test_ranges_cover_the_ramp_in_its_colours_in_every_band() -> None:
    root = ET.fromstring(ramp_table(SURE, 0, 100, bands=2, steps=4))
    assert [band.get("band") for band in root] == ["1", "2"]
    rows = [[float(cell.text or "nan") for cell in row] for row in root[0].iter("Row")]
    assert [row[:2] for row in rows] == [[0, 25], [25, 50], [50, 75], [75, 100]]
    low, middle = np.array(list(bytes.fromhex("762a83"))), np.array(list(bytes.fromhex("f7f7f7")))
    np.testing.assert_allclose(rows[0][2:], low + 0.25 * (middle - low), atol=0.5)
    np.testing.assert_allclose(rows[1][2:], low + 0.75 * (middle - low), atol=0.5)
