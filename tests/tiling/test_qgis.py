"""Facts about what QGIS shows, given nothing but the paths of our files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.shutil import copy

from tiling.geopackage import write_geopackage
from tiling.polygons import polygonise
from tiling.style import raster_qml

pytestmark = [
    pytest.mark.qgis,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),  # pictures have no place
]

PYTHON = "/usr/bin/python3"
"""The interpreter that Debian's python3-qgis belongs to."""

LEGEND = ((1, "Water", "#3b7dd8"), (2, "Trees & <shrubs>", "#2f7d3b"), (3, "Bare soil", "#b9a48c"))
NORTH_UP = Affine(10, 0, 5e5, 0, -10, 5e6)

LOOK = r"""
import json, sys
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor
from qgis.core import (
    QgsApplication, QgsFeatureSource, QgsMapRendererSequentialJob, QgsMapSettings, QgsRasterLayer, QgsVectorLayer
)

application = QgsApplication([], False)
application.initQgis()
vector, raster, folder, size = QgsVectorLayer(sys.argv[1]), QgsRasterLayer(sys.argv[2]), sys.argv[3], int(sys.argv[4])


def render(layer, path, size=size):
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setOutputSize(QSize(size, size))
    settings.setExtent(layer.extent())
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(path)


render(vector, folder + "/vector.png")
render(vector, folder + "/between.png", 433)
render(raster, folder + "/raster.png")
fields = vector.fields()
print(json.dumps({
    "valid": [vector.isValid(), raster.isValid()],
    "crs": [vector.crs().authid(), raster.crs().authid()],
    "features": vector.featureCount(),
    "indexed": vector.hasSpatialIndex() == QgsFeatureSource.SpatialIndexPresent,
    "vector": [vector.renderer().type(), vector.renderer().classAttribute()],
    "categories": [(c.value(), c.label(), c.symbol().color().name()) for c in vector.renderer().categories()],
    "raster": raster.renderer().type(),
    "classes": [(c.value, c.label, c.color.name()) for c in raster.renderer().classes()],
    "aliases": {field.name(): field.alias() for field in fields},
    "class widget": fields.field("class_id").editorWidgetSetup().type(),
    "title": vector.metadata().title(),
    "abstract": vector.metadata().abstract(),
    "map tip": vector.mapTipTemplate(),
    "display": vector.displayExpression(),
}))
del fields, vector, raster  # exitQgis crashes on layers that outlive it
application.exitQgis()
"""


def scene() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Three classes in large patches, with a hole, and a corner of no data."""
    classes = np.ones((60, 60), np.uint8)
    classes[:, 30:] = 2
    classes[10:50, 10:50] = 3
    classes[20:40, 20:40] = 1
    classes[:8, :8] = 0
    return classes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GeoPackage, and a COG with its style beside it."""
    folder = tmp_path_factory.mktemp("qgis")
    profile = {"height": 60, "width": 60, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(
        folder / "plain.tif", "w", driver="GTiff", crs="EPSG:32633", transform=NORTH_UP, **profile
    ) as out:
        out.write(scene(), 1)
        out.write_colormap(1, {value: (*bytes.fromhex(colour[1:]), 255) for value, _, colour in LEGEND})
    copy(folder / "plain.tif", folder / "classes.tif", driver="COG", overview_resampling="mode")
    (folder / "classes.qml").write_text(raster_qml(LEGEND), encoding="utf-8")
    write_geopackage(
        folder / "landcover.gpkg",
        polygonise(folder / "classes.tif", tile=16),
        crs="EPSG:32633",
        legend=LEGEND,
        title="Land cover of a drawn scene",
        description="Made in a test",
    )
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, Any]:
    """What QGIS says of the two files; it leaves vector.png and raster.png, 10 px of map per pixel."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GDAL", "PROJ"))}
    environment |= {"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}

    def qgis(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [PYTHON, "-c", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)

    if not Path(PYTHON).exists() or qgis("import qgis.core").returncode:
        pytest.skip(f"{PYTHON} has no qgis: apt-get install python3-qgis")
    done = qgis(LOOK, str(folder / "landcover.gpkg"), str(folder / "classes.tif"), str(folder), "600")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_both_open_in_place(seen: dict[str, Any]) -> None:
    assert seen["valid"] == [True, True]
    assert seen["crs"] == ["EPSG:32633"] * 2
    assert seen["indexed"]
    assert seen["features"] == 4


def test_polygons_are_categorised_by_the_legend(seen: dict[str, Any]) -> None:
    assert seen["vector"] == ["categorizedSymbol", "class_id"]
    assert [(int(value), name, colour) for value, name, colour in seen["categories"]] == list(LEGEND)


def test_the_raster_lists_just_its_classes(seen: dict[str, Any]) -> None:
    assert seen["raster"] == "paletted"
    assert seen["classes"] == [list(row) for row in LEGEND]


def test_columns_and_layer_speak_to_people(seen: dict[str, Any]) -> None:
    assert seen["aliases"]["area_m2"] == "Area (m²)"
    assert seen["class widget"] == "ValueMap"
    assert (seen["title"], seen["abstract"]) == ("Land cover of a drawn scene", "Made in a test")
    assert "class_name" in seen["map tip"]
    assert seen["display"] == '"class_name"'


@pytest.mark.parametrize("picture", ["vector.png", "raster.png"])
def test_each_pixel_has_the_colour_of_its_class(seen: dict[str, Any], folder: Path, picture: str) -> None:
    with rasterio.open(folder / picture) as image:
        drawn = image.read([1, 2, 3])[:, 5::10, 5::10]
    colours = {0: (255, 255, 255)} | {value: tuple(bytes.fromhex(colour[1:])) for value, _, colour in LEGEND}
    expected = np.array([colours[value] for value in scene().ravel()]).T.reshape(3, 60, 60)
    np.testing.assert_array_equal(drawn, expected)


def test_no_hairlines_show_between_neighbours(seen: dict[str, Any], folder: Path) -> None:
    with rasterio.open(folder / "between.png") as image:  # here borders fall between the picture's pixels
        green = image.read(2)[400, 212:222].astype(int)
    assert abs(green - 125).max() <= 2, "water and trees are both 125, the background is 255"


def test_looking_leaves_nothing_behind(seen: dict[str, Any], folder: Path) -> None:
    assert not [path.name for path in folder.iterdir() if path.name.startswith("landcover.gpkg-")]
