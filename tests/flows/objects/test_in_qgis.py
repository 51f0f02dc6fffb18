"""What QGIS shows of a partition, given nothing but the paths of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.objects.run import run
from flows.partitions.canny import Canny
from flows.partitions.objects import Objects
from flows.partitions.partition import Partition
from flows.requests.objects import ObjectsRequest
from flows.requests.source import Source
from tests.qgis import ask_qgis
from tests.scenes import draw_scene

pytestmark = pytest.mark.qgis

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
    out = folder / "out"
    project, package = (str(out / f"{stem}{suffix}") for suffix in (".qgs", ".gpkg"))
    return ask_qgis(LOOK, project, package, *layers, home=folder)


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
