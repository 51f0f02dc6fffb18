"""Spectral indices of a scene as rasters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rasterio

from flows.compute.progress import Progress, silent
from flows.plan.fit import calibrate
from flows.requests.source import Source
from flows.storage.keys import versions
from segmentation.spectral import indices
from tiling.cog.write import write_cog
from tiling.errors import InputError
from tiling.formats.about import About
from tiling.formats.pam import ramp_table
from tiling.formats.qml import GREENNESS, SURE, WETNESS, Ramp, ramp_qml
from tiling.grid.tiles import TileGrid
from tiling.io.datasets import open_dataset
from tiling.io.files import make_folder, scratch, write_text
from tiling.io.profiles import plain_profile
from tiling.scene.prefetch import read_ahead
from tiling.scene.scene import Scene

SHARD = 2048


def write_indices(
    source: Source, names: Sequence[str], out: Path, progress: Progress = silent
) -> list[Path]:
    """One float32 COG per index in folder `out`, NaN = no data or undefined, overviews by average.

    Each source block is decoded once for all of them; memory follows from a shard, not from the
    raster.
    """
    if not names:
        raise InputError(
            "no index was named; name one, such as NDVI: `landweave indices` lists them"
        )
    scene = source.open()
    chosen = [indices.find(name) for name in names]
    bands = tuple(
        dict.fromkeys(
            b for index in chosen for b in indices.index_bands(index.name, scene.band_names)
        )
    )
    scene = calibrate(scene, bands)
    lattice = TileGrid(scene.height, scene.width, tile=SHARD // 2, shard=SHARD)
    shards = list(lattice.shards())
    make_folder(out)
    with scratch(out) as work:
        plain = {index.name: work / f"{index.name}.plain.tif" for index in chosen}
        profile = plain_profile(scene.geobox, "float32", float("nan")) | {"predictor": 3}
        targets = {name: rasterio.open(path, "w", **profile) for name, path in plain.items()}
        for done, shard in enumerate(shards, start=1):
            for tile, chip in zip(shard.tiles, read_ahead(scene, bands, shard.tiles), strict=True):
                core = tile.core
                for name, target in targets.items():
                    target.write(
                        indices.compute(name, chip)[core.within(tile.chip)], 1, window=core.ranges
                    )
            progress("index", done, len(shards))
        for name, target in targets.items():
            target.set_band_description(1, name)
            target.close()
            write_cog(plain[name], out / f"{name}.tif", overviews="average")
            ramp = ramp_of(name)
            write_text(out / f"{name}.qml", ramp_qml(ramp, -1, 1))
            write_text(out / f"{name}.tif.aux.xml", ramp_table(ramp, -1, 1))
            write_text(out / f"{name}.qmd", about(name, scene).qmd)
    return [out / f"{name}.tif" for name in targets]


def draw_index(raster: Path) -> Path:
    """Draw a picture of an index in the colours of its style, beside its raster; NaN is white."""
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap
    from rasterio.enums import Resampling

    from flows.reports.drawing import blank_figure, pixel_ratio
    from flows.reports.quicklook import LONGEST

    with open_dataset(str(raster)) as source:
        shrink = max(1.0, max(source.shape) / LONGEST)
        shape = max(1, round(source.height / shrink)), max(1, round(source.width / shrink))
        values = source.read(1, out_shape=shape, resampling=Resampling.nearest)
        ratio = pixel_ratio(source.crs, source.bounds, source.transform)
    ramp = ramp_of(raster.stem)
    low, high = ramp[0][0], ramp[-1][0]
    stops = [((at - low) / (high - low), colour) for at, colour in ramp]
    figure = blank_figure(7.0, min(10.0, max(2.0, 6.0 * shape[0] * ratio / shape[1])) + 0.6)
    axes = figure.subplots()
    shown = axes.imshow(
        np.ma.masked_invalid(values), aspect=ratio, interpolation="nearest", vmin=-1, vmax=1,
        cmap=LinearSegmentedColormap.from_list(raster.stem, stops),
    )  # fmt: skip
    axes.set(title=raster.stem, xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, shrink=0.8)
    target = raster.with_suffix(".png")
    with scratch(raster.parent) as work:
        figure.savefig(work / target.name, metadata={"Software": "landweave"}, format="png")
        (work / target.name).replace(target)
    return target


def ramp_of(name: str) -> Ramp:
    """How QGIS draws an index: by what it is of, vegetation and water each in the colours expected
    of them."""
    return {"vegetation": GREENNESS, "water": WETNESS}.get(indices.find(name).domain, SURE)


def about(name: str, scene: Scene) -> About:
    """What the raster of an index says of itself."""
    index = indices.find(name)
    return About(
        title=f"{name} of {scene.name}",
        abstract=f"{index.long_name}: {index.formula}",
        days=[str(scene.date)] if scene.date else [],
        history=(f"Source: {scene.title}", f"Computed with landweave {versions()['landweave']}"),
    )


def list_indices(scene: Scene | None) -> list[tuple[str, str, str, str]]:
    """Name, long name, bands and, for a scene, what is missing (else the domain) of every index in
    the catalogue."""
    rows = []
    for index in indices.catalogue().values():
        last = ", ".join(index.missing(scene.band_names)) or "nothing" if scene else index.domain
        rows.append((index.name, index.long_name, ", ".join(index.bands + index.parameters), last))
    return rows


def index_facts(scene: Scene | None) -> list[dict[str, Any]]:
    """Every index with formula, source and, for a scene, missing bands; for programs."""
    return [
        {
            "name": index.name,
            "long_name": index.long_name,
            "domain": index.domain,
            "formula": index.formula,
            "reference": index.reference,
            "bands": index.bands,
            "parameters": index.parameters,
            "missing": index.missing(scene.band_names) if scene else None,
        }
        for index in indices.catalogue().values()
    ]
