"""The promise on scenes drawn by chance: whatever cuts the work, not a byte of difference, and a
clean coverage.

`LANDWEAVE_SEED` chooses the scenes; a failing one says its number, and is drawn first by giving
that alone.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from scipy.ndimage import gaussian_filter

from flows.compute.cluster import Cluster
from flows.requests.request import Request
from flows.requests.segmenters import segmenter_from
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.errors import InputError
from segmentation.inference.network import Network
from segmentation.segmenter import Segmenter
from tests.chance import SEED
from tests.flows.run.test_pipeline import Blur
from tests.flows.run.test_pixel_methods import METHODS
from tests.killed import Killed, killed_after
from tests.scenes import BANDS
from tiling.scene.from_files import open_scene

pytestmark = pytest.mark.usefixtures("white_pictures")

CASES, QUARTERS = 80, 4
SECONDS = 120
"""For a quarter of them, however slow the machine: what is left is for another seed."""

PLACES: dict[str, tuple[str, Affine]] = {
    "utm": ("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_300_000)),
    "feet": ("EPSG:2263", Affine(3.280833, 0, 987_654.321, 0, -3.280833, 212_345.678)),
    "oblong": ("EPSG:32733", Affine(20, 0, 412_345.6, 0, -10, 7_000_000.4)),
    "rows north": ("EPSG:32633", Affine(10, 0, 500_000, 0, 10, 5_300_000)),
    "degrees": ("EPSG:4326", Affine(1 / 3600, 0, 12.3, 0, -1 / 3600, 45.6)),
    "antimeridian": ("EPSG:4326", Affine(1e-4, 0, 179.99, 0, -1e-4, 10)),
    "near the pole": ("EPSG:4326", Affine(1e-3, 0, -20, 0, -1e-4, 89.98)),
    "polar": ("EPSG:3031", Affine(100, 0, -5_000, 0, -100, 5_000)),
    "world mercator": ("EPSG:3395", Affine(123.4, 0, 1.9e7, 0, -123.4, -1.5e7)),
    "centimetres": ("EPSG:32633", Affine(0.03, 0, 500_123.456, 0, -0.03, 5_000_000.789)),
}
SPECTRA = np.array(  # as BANDS: water, forest, grass, soil, town
    [[400, 350, 250, 150, 80, 50], [250, 450, 300, 3000, 1400, 700], [500, 900, 700, 3800, 2300,
    1300],
     [900, 1300, 1700, 2400, 3100, 2600], [1300, 1500, 1600, 2000, 2100, 1900]]
)  # fmt: skip


def draw(path: Path, rng: np.random.Generator) -> str:
    """A scene of any shape, kind of number, no data and place; its description."""
    long, short = int(rng.integers(1, 300)), int(rng.integers(1, 70))
    shape = (long, short) if rng.random() < 0.5 else (short, long)
    noise = rng.normal(size=(len(SPECTRA), *shape))
    land = np.stack(
        [gaussian_filter(layer, rng.uniform(0.2, 4), mode="wrap") for layer in noise]
    ).argmax(0)
    pixels = SPECTRA[land].transpose(2, 0, 1) * rng.normal(1, 0.1, (len(BANDS), *shape))
    kind = str(rng.choice(["uint16", "int16", "float32"]))
    nodata = float(rng.choice([0, -9999 if kind != "uint16" else 65535]))
    holes = rng.random(shape) < rng.choice([0, 0.01, 0.2])
    pixels = np.where(holes, nodata, pixels.clip(1, 30_000)).astype(kind)
    place = str(rng.choice(list(PLACES)))
    crs, transform = PLACES[place]
    profile = {
        "height": shape[0],
        "width": shape[1],
        "count": len(BANDS),
        "dtype": kind,
        "nodata": nodata,
    }
    with rasterio.open(
        path, "w", driver="GTiff", crs=crs, transform=transform, **profile
    ) as target:
        target.write(pixels)
        target.descriptions = BANDS
        target.scales = (1e-4,) * len(BANDS)
    return f"{place}, {shape[0]} × {shape[1]} px, {kind}, no data {nodata:g}"


def segmenter(rng: np.random.Generator) -> Segmenter:
    """Rules, a threshold that is found on the scene, a network, or what looks at its neighbours."""
    match str(rng.choice(["rules", "otsu", "network", "blur", "classical", "classical"])):
        case "network":
            return Network(
                bundle="demo", device="cpu", runtime="torch", tile=int(rng.choice([32, 64]))
            )
        case "blur":
            return Blur(tile=int(rng.integers(8, 80)), reach=int(rng.integers(0, 12)))
        case "classical":
            return segmenter_from(*METHODS[int(rng.integers(len(METHODS)))])
        case "otsu":
            return segmenter_from("otsu", {"index": str(rng.choice(["NDVI", "NDWI", "nir"]))})
        case kind:
            return segmenter_from(kind, {})


def draw_area(path: Path, scene: Path, rng: np.random.Generator) -> str:
    """A triangle over a part of a scene, or over two."""
    with rasterio.open(scene) as source:
        transform, crs, shape = source.transform, source.crs, source.shape
    shapes = []
    for _ in range(int(rng.integers(1, 3))):
        corners = rng.uniform(-0.1, 1.1, (3, 2)) * shape[::-1]
        shapes.append(shapely.Polygon([transform @ tuple(corner) for corner in corners]))
    inside = shapely.box(*sorted_bounds(transform, shape))
    if not shapely.intersects(shapely.union_all(shapes), inside):
        shapes.append(inside)
    geopandas.GeoDataFrame(geometry=shapes, crs=crs.to_wkt()).to_file(path)
    return str(path)


def sorted_bounds(transform: Affine, shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """West, south, east, north."""
    (west, one), (east, other) = transform @ (0, 0), transform @ shape[::-1]
    return west, min(one, other), east, max(one, other)


def cut(request: Request, rng: np.random.Generator, address: str) -> str:
    """Make the products of `request` in another way than all at once; returns how."""
    told = f"shards of {request.shard} px"
    if request.segmenter.kind in ("rules", "otsu") and rng.random() < 0.2:
        pipeline.run(request, on=Cluster(kind=address))
        return f"{told}, two workers"
    for _ in range(int(rng.choice([0, 0, 1, 3]))):
        calls = int(rng.integers(0, 12))
        try:
            pipeline.run(request, progress=killed_after(calls))
        except Killed as stage:
            told += f", killed in {stage}"
            if rng.random() < 0.5:  # another cut goes on: what it finds there is not its own
                request = request.model_copy(update={"shard": int(rng.integers(1, 128))})
                told += f", then shards of {request.shard} px"
    pipeline.run(request)
    return told


def products(out: Path) -> tuple[dict[str, Any], geopandas.GeoDataFrame]:
    """Pixels of each raster of a run, and its polygons as they are written."""
    rasters = {}
    for path in sorted(out.glob("*.tif")):
        with rasterio.open(path) as source:
            rasters[path.name] = source.read()
    return rasters, pyogrio.read_dataframe(out / "landcover.gpkg", layer="landcover")


def compared(one: Path, other: Path, case: str) -> tuple[dict[str, Any], geopandas.GeoDataFrame]:
    """The products of a run, which are those of the other to the last bit."""
    (rasters, polygons), (others, other_polygons) = products(one), products(other)
    assert rasters.keys() == others.keys(), case
    for name in rasters:
        assert rasters[name].tobytes() == others[name].tobytes(), f"{case}: {name}"
    assert (one / "areas.csv").read_bytes() == (other / "areas.csv").read_bytes(), case
    assert polygons.drop(columns="geometry").equals(other_polygons.drop(columns="geometry")), case
    shapes, other_shapes = polygons.geometry.to_numpy(), other_polygons.geometry.to_numpy()
    assert (shapely.to_wkb(shapes) == shapely.to_wkb(other_shapes)).all(), case
    return rasters, polygons


def is_clean(
    polygons: geopandas.GeoDataFrame, classes: np.ndarray, scene: Path, smooth: int, case: str
) -> None:
    """Assert that polygons are a valid coverage of all pixels that have a class."""
    shapes = polygons.geometry.to_numpy()
    assert shapely.is_valid(shapes).all(), case
    assert shapely.coverage_is_valid(shapes), case
    with rasterio.open(scene) as source:
        pixel = abs(source.transform.determinant)
    counted = int(np.count_nonzero(classes))
    assert polygons.n_pixels.sum() == counted, case
    if not smooth:
        assert shapely.area(shapes).sum() == pytest.approx(counted * pixel, rel=1e-6), case


@pytest.mark.slow
@pytest.mark.parametrize("quarter", range(QUARTERS))
@pytest.mark.timeout(580)
@pytest.mark.filterwarnings("ignore")
def test_whatever_cuts_a_scene_its_bytes_are_the_same_and_its_coverage_is_clean(
    tmp_path: Path, two_workers: str, quarter: int
) -> None:
    begun, done = time.monotonic(), 0
    for seed in range(SEED + quarter, SEED + CASES, QUARTERS):
        if time.monotonic() - begun > SECONDS:
            break
        rng, folder = np.random.default_rng(seed), tmp_path / str(seed)
        folder.mkdir()
        scene = folder / "scene.tif"
        case = f"LANDWEAVE_SEED={seed}: {draw(scene, rng)}"
        chosen = segmenter(rng)
        pixel = open_scene([str(scene)]).gsd
        wishes: dict[str, Any] = {
            "source": Source(paths=(str(scene),)),
            "segmenter": chosen,
            "unknown_below": float(rng.choice([0, 0, 20, 60])),
            "min_area": [0, None][int(rng.integers(2))],
            "simplify": [None, None, 0, 3 * pixel][int(rng.integers(4))],
            "smooth": int(rng.choice([0, 0, 1])),
            "fill_holes": pixel**2 * int(rng.choice([0, 0, 30])),
            "max_area": pixel**2 * int(rng.choice([0, 0, 50, 900])),
            "aoi": draw_area(folder / "aoi.gpkg", scene, rng) if rng.random() < 0.3 else "",
            "preflight": "warn",
        }
        if not chosen.has_confidence:
            wishes["unknown_below"] = 0.0
        named = ("unknown_below", "min_area", "fill_holes", "max_area", "simplify", "smooth")
        case += f", {chosen!r}, { ({name: wishes[name] for name in named}) }"
        try:
            pipeline.run(Request(out=folder / "whole", shard=4096, **wishes))
        except InputError as error:  # a scene of a few pixels has no clusters, no four levels
            if "one value" in str(error) or "fewer different values" in str(error):
                continue
            raise
        other = Request(out=folder / "cut", shard=int(rng.integers(1, 128)), **wishes)
        case += f"{', in an area' if wishes['aoi'] else ''}; {cut(other, rng, two_workers)}"
        rasters, polygons = compared(folder / "whole", folder / "cut", case)
        is_clean(polygons, rasters["classes.tif"], scene, wishes["smooth"], case)
        shutil.rmtree(folder)
        done += 1
    print(f"{done} cases from LANDWEAVE_SEED={SEED + quarter} in steps of {QUARTERS}")
    assert done > 0
