"""Facts about what QGIS shows, given nothing but the paths of our files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.shutil import copy

from tests.qgis import ask_qgis
from tiling.formats.about import About
from tiling.formats.layer import Layer
from tiling.formats.pam import class_table, ramp_table
from tiling.formats.qgis_project import project
from tiling.formats.qml import SURE, raster_qml
from tiling.formats.vector_writers import write_vectors
from tiling.polygons.polygonise import polygonise

pytestmark = [
    pytest.mark.qgis,
    pytest.mark.filterwarnings(
        "ignore::rasterio.errors.NotGeoreferencedWarning"
    ),  # pictures have no place
]

"""The interpreter that Debian's python3-qgis belongs to."""

ABOUT = About(
    "Land cover of a drawn scene",
    "Made in a test",
    ["2024-06-30"],
    ("Source: drawn & painted", "Made by hand"),
    "CC0-1.0",
)

LEGEND = ((1, "Water", "#3b7dd8"), (2, "Trees & <shrubs>", "#2f7d3b"), (3, "Bare soil", "#b9a48c"))

PLACES = {
    "north": ("EPSG:32633", Affine(10, 0, 5e5, 0, -10, 5e6)),
    "south": ("EPSG:32733", Affine(10, 0, 5e5, 0, -10, 2e6)),
    "degrees": ("EPSG:4326", Affine(0.001, 0, -64, 0, -0.001, -31)),
    "antimeridian": ("EPSG:4326", Affine(0.01, 0, 179.7, 0, -0.01, 10)),
    "oblong": ("EPSG:32633", Affine(20, 0, 5e5, 0, -10, 5e6)),
    "south up": ("EPSG:32633", Affine(10, 0, 5e5, 0, 10, 5e6)),
}
"""CRS and geotransform of 60 × 60 px."""

LOOK = r"""
import json, sys
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor
from osgeo import gdal
from qgis.core import (
    QgsApplication, QgsFeatureSource, QgsLayoutExporter, QgsLayoutItemScaleBar,
    QgsMapRendererSequentialJob,
    QgsMapSettings, QgsProject, QgsRasterLayer, QgsVectorLayer
)

application = QgsApplication([], False)
application.initQgis()


def render(layers, crs, extent, path, width, height):
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(crs)
    settings.setOutputSize(QSize(width, height))
    settings.setExtent(extent)
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(path)


def categories(layer):
    return [(c.value(), c.label(), c.symbol().color().name())
        for c in layer.renderer().categories()]


def classes(layer):
    return [(c.value, c.label, c.color.name()) for c in layer.renderer().classes()]


def about(metadata):
    time = [period.begin().toString("yyyy-MM-dd") for period in metadata.extent().temporalExtents()]
    return [metadata.title(), metadata.abstract(), list(metadata.licenses()),
        list(metadata.history()), time]


def sheet(project, path):
    (layout,) = project.layoutManager().printLayouts()
    settings = QgsLayoutExporter.ImageExportSettings()
    settings.dpi = 60
    done = QgsLayoutExporter(layout).exportToImage(path, settings)
    (bar,) = [item for item in layout.items() if isinstance(item, QgsLayoutItemScaleBar)]
    bar.setUnitsPerSegment(bar.unitsPerSegment())  # which measures anew
    return [layout.name(), done == QgsLayoutExporter.Success, bar.linkedMap() is not None,
    bar.unitLabel(),
            bar.unitsPerSegment(), bar.sizeWithUnits().width()]


def attribute_table(path):
    opened = gdal.Open(path)  # the table lives as long as this does
    table = opened.GetRasterBand(1).GetDefaultRAT()
    names = [table.GetNameOfCol(column) for column in range(table.GetColumnCount())]
    usages = [table.GetUsageOfCol(column) for column in range(table.GetColumnCount())]
    rows = [[table.GetValueAsString(row, column) for column in range(len(names))]
        for row in range(table.GetRowCount())]
    return [names, usages, rows, table.GetTableType()]


def look(folder, width, height):
    vector = QgsVectorLayer(folder + "/landcover.gpkg")
    raster = QgsRasterLayer(folder + "/classes.tif")
    raster.loadDefaultMetadata()  # as the program does when a raster is added
    render([vector], vector.crs(), raster.extent(), folder + "/vector.png", width, height)
    render([vector], vector.crs(), vector.extent(), folder + "/between.png", 433, 433)
    render([raster], raster.crs(), raster.extent(), folder + "/raster.png", width, height)
    opened = QgsProject()
    read = opened.read(folder + "/landcover.qgs")
    layers = {layer.name(): layer for layer in opened.mapLayers().values()}
    tree = opened.layerTreeRoot()
    shown = [node.layer() for node in tree.findLayers() if node.isVisible()]
    view = opened.viewSettings().defaultViewExtent()
    render(shown, opened.crs(), view, folder + "/project.png", width, height)
    render([layers["Raster"]], opened.crs(), view, folder + "/project-raster.png", width, height)
    (bookmark,) = opened.bookmarkManager().bookmarks()
    box = bookmark.extent()
    fields = vector.fields()
    plain = QgsVectorLayer(folder + "/landcover.fgb")
    return {
        "valid": [vector.isValid(), raster.isValid()],
        "crs": [vector.crs().authid(), raster.crs().authid()],
        "features": vector.featureCount(),
        "indexed": vector.hasSpatialIndex() == QgsFeatureSource.SpatialIndexPresent,
        "vector": [vector.renderer().type(), vector.renderer().classAttribute()],
        "categories": categories(vector),
        "raster": raster.renderer().type(),
        "classes": classes(raster),
        "aliases": {field.name(): field.alias() for field in fields},
        "class widget": fields.field("class_id").editorWidgetSetup().type(),
        "flatgeobuf": [
            plain.isValid(), plain.crs().authid(), plain.featureCount(), [f.name()
            for f in plain.fields()],
            sorted(feature["class_id"] for feature in plain.getFeatures()),
        ],
        "about": [about(layer.metadata()) for layer in (vector, raster)],
        "tables": [attribute_table(folder + "/" + name) for name in ("classes.tif", "percent.tif")],
        "map tip": vector.mapTipTemplate(),
        "display": vector.displayExpression(),
        "project": {
            "read": [read, opened.error()],
            "title": opened.title(),
            "said": [opened.metadata().title(), opened.metadata().abstract(),
            list(opened.metadata().history())],
            "about": [about(layers[name].metadata()) for name in ("Polygons", "Raster")],
            "sheet": sheet(opened, folder + "/sheet.png"),
            "ellipsoid": opened.ellipsoid(),
            "crs": opened.crs().authid(),
            "layers": {name: [l.isValid(), l.crs().authid(), l.source()] for name,
            l in layers.items()},
            "groups": [group.name() for group in tree.findGroups()],
            "shown": [layer.name() for layer in shown],
            "categories": categories(layers["Polygons"]),
            "classes": classes(layers["Raster"]),
            "aliases": {field.name(): field.alias() for field in layers["Polygons"].fields()},
            "bookmark": [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()],
            "view": [view.xMinimum(), view.yMinimum(), view.xMaximum(), view.yMaximum()],
        },
    }


sizes = json.loads(sys.argv[1])
print(json.dumps({folder: look(folder, *size) for folder, size in sizes.items()}))
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


def draw(folder: Path, crs: str, transform: Affine) -> None:
    """A GeoPackage, a COG with its style beside it, and a project."""
    profile = {"height": 60, "width": 60, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(
        folder / "plain.tif", "w", driver="GTiff", crs=crs, transform=transform, **profile
    ) as out:
        out.write(scene(), 1)
        out.write_colormap(
            1, {value: (*bytes.fromhex(colour[1:]), 255) for value, _, colour in LEGEND}
        )
    raster = folder / "classes.tif"
    copy(folder / "plain.tif", raster, driver="COG", overview_resampling="mode")
    (folder / "classes.qml").write_text(raster_qml(LEGEND), encoding="utf-8")
    copy(folder / "plain.tif", folder / "percent.tif", driver="GTiff")
    (folder / "classes.qmd").write_text(ABOUT.qmd, encoding="utf-8")
    pixels = {value: int((scene() == value).sum()) for value in (1, 2, 3)}
    (folder / "classes.tif.aux.xml").write_text(class_table(LEGEND, pixels), encoding="utf-8")
    (folder / "percent.tif.aux.xml").write_text(ramp_table(SURE, 0, 100, steps=2), encoding="utf-8")
    layer = Layer(crs=crs, legend=LEGEND, about=ABOUT)
    for suffix in (".gpkg", ".fgb"):  # Debian's GDAL reads no Parquet
        write_vectors(folder / f"landcover{suffix}", polygonise(raster, tile=16), layer)
    text = project(
        replace(ABOUT, title="A drawn & painted scene"),
        raster,
        LEGEND,
        (folder / "landcover.gpkg", layer),
    )
    (folder / "landcover.qgs").write_text(text, encoding="utf-8")


def scale(transform: Affine) -> tuple[int, int]:
    """Pixels of the picture for each pixel of the map, across and down."""
    across, down = abs(transform.a), abs(transform.e)
    return round(10 * across / min(across, down)), round(10 * down / min(across, down))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each place. They are drawn elsewhere and moved: the project must not mind."""
    folder = tmp_path_factory.mktemp("qgis")
    for place, (crs, transform) in PLACES.items():
        (folder / "first").mkdir()
        draw(folder / "first", crs, transform)
        shutil.move(folder / "first", folder / place)
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, dict[str, Any]]:
    """What QGIS says of each place; it leaves pictures, 10 or more of their pixels for one of the
    map's."""
    sizes = {
        str(folder / place): [60 * pixels for pixels in scale(where)]
        for place, (_, where) in PLACES.items()
    }
    seen = ask_qgis(LOOK, json.dumps(sizes), home=folder)
    return {Path(place).name: facts for place, facts in seen.items()}


def colours_of(classes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`(band, y, x)` of classes in the legend's colours; no data is white."""
    colours = {0: (255, 255, 255)} | {
        value: tuple(bytes.fromhex(colour[1:])) for value, _, colour in LEGEND
    }
    return np.array([colours[value] for value in classes.ravel()]).T.reshape(3, *classes.shape)


@pytest.mark.parametrize("place", PLACES)
def test_both_open_in_place(seen: dict[str, Any], place: str) -> None:
    found = seen[place]
    assert found["valid"] == [True, True]
    assert found["crs"] == [PLACES[place][0]] * 2
    assert found["indexed"]
    assert found["features"] == 4


@pytest.mark.parametrize("place", PLACES)
def test_flatgeobuf_opens_too(seen: dict[str, Any], place: str) -> None:
    valid, crs, features, names, classes = seen[place]["flatgeobuf"]
    assert (valid, crs, features) == (True, PLACES[place][0], 4)
    assert names[:3] == ["region_id", "class_id", "class_name"]
    assert classes == [1, 1, 2, 3]


def test_polygons_are_categorised_by_the_legend(seen: dict[str, Any]) -> None:
    found = seen["north"]
    assert found["vector"] == ["categorizedSymbol", "class_id"]
    assert [(int(value), name, colour) for value, name, colour in found["categories"]] == list(
        LEGEND
    )


def test_layers_and_project_say_what_they_are(seen: dict[str, Any]) -> None:
    """Title, abstract, licence, lineage and day of the image, wherever QGIS shows them."""
    told = [
        "Made in a test",
        ["CC0-1.0"],
        ["Source: drawn & painted", "Made by hand"],
        ["2024-06-30"],
    ]
    titles = ["Land cover of a drawn scene", "A drawn & painted scene"]
    assert seen["north"]["about"] == [[titles[0], *told]] * 2
    project = seen["north"]["project"]
    assert project["about"] == [[titles[0], *told], [titles[1], *told]]
    # a project has no licence of its own
    assert project["said"] == [titles[1], "Made in a test. Licence: CC0-1.0", told[2]]


def test_rasters_have_attribute_tables(seen: dict[str, Any]) -> None:
    """Usages: 5 a value, 1 a count, 2 a name, 3 and 4 a range, 6 to 8 a colour; a thematic table is
    0."""
    classes, percent = seen["north"]["tables"]
    assert classes[0] == ["Value", "Pixels", "Class", "Red", "Green", "Blue"]
    assert classes[1] == [5, 1, 2, 6, 7, 8]
    drawn = scene()
    assert [[int(row[0]), float(row[1]), row[2], *map(int, row[3:])] for row in classes[2]] == [
        [value, float((drawn == value).sum()), name, *bytes.fromhex(colour[1:])]
        for value, name, colour in LEGEND
    ]
    assert percent[0] == ["From", "To", "Red", "Green", "Blue"]
    assert percent[1] == [3, 4, 6, 7, 8]
    assert [[float(row[0]), float(row[1])] for row in percent[2]] == [[0, 50], [50, 100]]
    assert [classes[3], percent[3]] == [0, 1]


@pytest.mark.parametrize("place", PLACES)
def test_a_sheet_can_be_printed(seen: dict[str, Any], folder: Path, place: str) -> None:
    """The bar is as long on paper as QGIS measures on the ground; in degrees too, for the project
    has an ellipsoid."""
    name, exported, linked, unit, segment, width = seen[place]["project"]["sheet"]
    assert (name, exported, linked) == ("Map", True, True)
    assert seen[place]["project"]["ellipsoid"] == "EPSG:7030"
    assert (unit, segment) in {
        ("m", 100.0),
        ("m", 200.0),
        ("km", 1.0),
        ("km", 10.0),
        ("m", 50.0),
        ("m", 500.0),
    }
    assert 20 < width < 75  # mm, two segments and their labels
    picture = Image.open(folder / place / "sheet.png").convert("RGB")
    colours = {colour for _, colour in picture.getcolors(2**24)}
    assert {tuple(bytes.fromhex(colour[1:])) for _, _, colour in LEGEND} <= colours


def test_the_raster_lists_just_its_classes(seen: dict[str, Any]) -> None:
    assert seen["north"]["raster"] == "paletted"
    assert seen["north"]["classes"] == [list(row) for row in LEGEND]


def test_columns_and_layer_speak_to_people(seen: dict[str, Any]) -> None:
    found = seen["north"]
    assert found["aliases"]["area_m2"] == "Area (m²)"
    assert found["class widget"] == "ValueMap"
    assert "class_name" in found["map tip"]
    assert found["display"] == '"class_name"'


@pytest.mark.parametrize("place", PLACES)
def test_the_project_opens_on_the_map_with_valid_layers(
    seen: dict[str, Any], folder: Path, place: str
) -> None:
    found, (crs, transform) = seen[place]["project"], PLACES[place]
    assert found["read"] == [True, ""]
    assert found["crs"] == crs
    assert found["title"] == "A drawn & painted scene"
    assert found["layers"] == {
        "Polygons": [True, crs, f"{folder / place / 'landcover.gpkg'}|layername=landcover"],
        "Raster": [True, crs, str(folder / place / "classes.tif")],
    }
    assert found["groups"] == ["A drawn & painted scene"]
    assert found["shown"] == ["Polygons"]
    (west, north), (east, south) = transform @ (0, 0), transform @ (60, 60)
    bounds = [west, min(south, north), east, max(south, north)]
    assert found["view"] == found["bookmark"] == pytest.approx(bounds, abs=1e-9)


def test_the_project_has_the_legend_and_the_names_of_columns(seen: dict[str, Any]) -> None:
    found = seen["north"]["project"]
    assert [(int(value), name, colour) for value, name, colour in found["categories"]] == list(
        LEGEND
    )
    assert found["classes"] == [list(row) for row in LEGEND]
    assert found["aliases"]["area_m2"] == "Area (m²)"


@pytest.mark.parametrize(
    "picture", ["vector.png", "raster.png", "project.png", "project-raster.png"]
)
@pytest.mark.parametrize("place", PLACES)
def test_each_pixel_has_the_colour_of_its_class(
    seen: dict[str, Any], folder: Path, place: str, picture: str
) -> None:
    across, down = scale(PLACES[place][1])
    with rasterio.open(folder / place / picture) as image:
        drawn = image.read([1, 2, 3])[:, down // 2 :: down, across // 2 :: across]
    north_up = scene()[:: -1 if PLACES[place][1].e > 0 else 1]
    np.testing.assert_array_equal(drawn, colours_of(north_up))


def test_no_hairlines_show_between_neighbours(seen: dict[str, Any], folder: Path) -> None:
    with rasterio.open(
        folder / "north" / "between.png"
    ) as image:  # here borders fall between the picture's pixels
        green = image.read(2)[400, 212:222].astype(int)
    assert abs(green - 125).max() <= 2, "water and trees are both 125, the background is 255"


def test_looking_leaves_nothing_behind(seen: dict[str, Any], folder: Path) -> None:
    assert not [
        path.name
        for path in (folder / "north").iterdir()
        if path.name.startswith("landcover.gpkg-")
    ]
