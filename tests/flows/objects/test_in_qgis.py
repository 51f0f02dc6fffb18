"""What QGIS shows of a partition, given nothing but the paths of its files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flows.objects.run import run
from flows.partitions.canny import Canny
from flows.partitions.objects import Objects
from flows.partitions.partition import Partition
from flows.requests.objects import ObjectsRequest
from flows.requests.source import Source
from tests.scenes import draw_scene

pytestmark = pytest.mark.qgis

PYTHON = "/usr/bin/python3"

LOOK = r"""
import json, sys
from qgis.core import QgsApplication, QgsProject, QgsVectorLayer
application = QgsApplication([], False)
application.initQgis()

def describe(layer):
    symbol = layer.renderer().symbol().symbolLayer(0)
    colour = symbol.strokeColor() if symbol.layerType() == "SimpleFill" else symbol.color()
    filled = symbol.brushStyle() if symbol.layerType() == "SimpleFill" else 0
    return [layer.isValid(), layer.renderer().type(), colour.name(), int(filled),
            layer.featureCount(), layer.crs().authid()]

project = QgsProject.instance()
assert project.read(sys.argv[1])
shown = {}
for node in project.layerTreeRoot().findLayers():
    layer = node.layer()
    shown[node.name()] = [layer.isValid(), node.itemVisibilityChecked()]
    if isinstance(layer, QgsVectorLayer):
        shown[node.name()] += describe(layer)[1:]
alone = {name: describe(QgsVectorLayer(f"{sys.argv[2]}|layername={name}", name, "ogr"))
         for name in sys.argv[3:]}
aliases = {name: QgsVectorLayer(f"{sys.argv[2]}|layername={name}", name, "ogr").attributeAlias(1)
           for name in sys.argv[3:]}
print(json.dumps({"project": shown, "alone": alone, "aliases": aliases}))
"""


def look(folder: Path, method: Partition, stem: str, *layers: str) -> dict[str, Any]:
    """What QGIS says of a partition's project, and of its layers alone."""
    scene = draw_scene(folder / "scene.tif", 60, 70)
    run(ObjectsRequest(source=Source(paths=(str(scene),)), out=folder / "out", partition=method))
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "GDAL", "PROJ"))
    } | {"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}

    def qgis(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PYTHON, "-c", *arguments],
            env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    if not Path(PYTHON).exists() or qgis("import qgis.core").returncode:
        pytest.skip(f"{PYTHON} has no qgis: apt-get install python3-qgis")
    out = folder / "out"
    done = qgis(LOOK, str(out / f"{stem}.qgs"), str(out / f"{stem}.gpkg"), *layers)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_objects_open_as_outlines_over_the_image(tmp_path: Path) -> None:
    method = Objects(levels=(2, 4), step=4)
    seen = look(tmp_path, method, "objects", "objects-2", "objects-4")
    project = seen["project"]
    assert list(project) == ["Objects-2", "Objects-4", "Image", "Raster"]
    assert all(one[0] for one in project.values())
    assert [one[1] for one in project.values()] == [True, False, True, False]
    for found in (project["Objects-2"][2:], seen["alone"]["objects-2"][1:]):
        renderer, colour, brush, features, crs = found
        assert (renderer, colour, brush, crs) == ("singleSymbol", "#ffee00", 0, "EPSG:32633")
        assert features > 1
    assert seen["aliases"]["objects-4"] == "Number"


def test_edges_open_as_lines(tmp_path: Path) -> None:
    seen = look(tmp_path, Canny(low=0.5, high=0.7), "edges", "edges")
    assert seen["project"]["Edges"][:4] == [True, True, "singleSymbol", "#ffee00"]
    assert seen["alone"]["edges"][:3] == [True, "singleSymbol", "#ffee00"]
