"""Scenes cut into objects."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.compute.progress import silent
from flows.compute.spawning import empty_main
from flows.parsing import validate
from landweave.inputs import (
    PathLike,
    Progress,
    SceneLike,
    cluster_of,
    drop_none,
    source_of,
    unify_errors,
)
from tiling.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr
    from PIL.Image import Image

    from flows.compute.cluster import Cluster
    from flows.objects.model import Objects as Finished
    from flows.partitions.partition import Partition


@dataclass(frozen=True, eq=False, repr=False)
class Objects:
    """Regions of a scene, level by level: numbers in a raster, outlines with measures in a
    layer."""

    folder: Path
    result: Finished
    """Every figure, and the record of the run."""

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the layers, the finest first."""
        return tuple(level.name for level in self.result.levels)

    def numbers(self, level: str | None = None) -> xr.DataArray:
        """`(y, x) uint32` number of each pixel's object, 0 = none; of the finest level unless
        another is named."""
        from landweave.rasters import open_raster

        name = self._name(level)
        return open_raster(str(self.folder / f"{name}.tif")).rename(name)

    def polygons(self, level: str | None = None) -> gpd.GeoDataFrame:
        """Outlines with number, size, shape and colour; of the finest level unless another is
        named."""
        import geopandas as gpd

        layer = next(path for path in self.result.files if path.suffix == ".gpkg")
        return gpd.read_file(layer, layer=self._name(level))

    @property
    def quicklook(self) -> Image:
        """The scene, and a part of it with outlines, as a picture."""
        from PIL import Image

        return Image.open(self.folder / "quicklook.png")

    def _name(self, level: str | None) -> str:
        if level is None:
            return self.levels[0]
        if level not in self.levels:
            raise InputError(
                f"{self.folder} has no level {level}; there are {', '.join(self.levels)}"
            )
        return level

    def __fspath__(self) -> str:
        """Its folder."""
        return str(self.folder)

    def __repr__(self) -> str:
        return f"<Objects: {self.result.summary}; {self.folder}>"


@unify_errors
def objects(
    scene: SceneLike,
    out: PathLike,
    *,
    method: str | Partition = "objects",
    segmenter: PathLike | None = None,
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    pixel_scale: float | None = None,
    pixel_offset: float | None = None,
    mask: str | None = None,
    mask_values: Sequence[int] | None = None,
    mask_bits: Sequence[int] | None = None,
    mask_grow: int | None = None,
    date: datetime.date | str | None = None,
    aoi: PathLike | None = None,
    indices: Sequence[str] | None = None,
    min_object: float | None = None,
    max_object: float | None = None,
    fill_holes: float | None = None,
    regularise: float | None = None,
    simplify: float | None = None,
    smooth: int | None = None,
    licence: str | None = None,
    tile: int | None = None,
    fresh: bool | None = None,
    cluster: str | Cluster = "local",
    workers: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Objects:
    """Cut a scene into objects, without any class: the same for every tile and worker.

    What an earlier run in the same folder finished is not done again.

    Args:
        scene: As `segment` takes it, but for arrays.
        out: Folder of the products on a disk that all workers see; made if need be.
        method: Kind of partition, such as `"objects"`, `"superpixels"` or `"watershed"`.
        segmenter: Model of interior and boundary that looks first, for `"instances"`.
        bands: Band name to band number from 1, where the file does not say.
        nodata: Pixel value that means no data.
        pixel_scale: Reflectance = pixel × scale + offset.
        pixel_offset: See `pixel_scale`.
        mask: `"band=N"` or a raster whose values mark pixels to leave out.
        mask_values: Values of the mask to leave out; all but 0 by default.
        mask_bits: Bits of the mask, from 0, that leave a pixel out where one is set.
        mask_grow: Pixels left out around what a model of clouds leaves out.
        date: Day of the image.
        aoi: Vector file whose polygons bound the products. Objects are made on the whole scene.
        indices: Spectral indices whose mean each object gets, such as `["NDVI"]`.
        min_object: Smaller objects are left out, in m².
        max_object: Larger objects are left out, in m².
        fill_holes: Smaller holes that hold no object go to the object around them, in m².
        regularise: How far outlines of right angles may be from the pixels', in m; 0: none.
        simplify: How far boundaries may move, in m; 0.75 pixel by default, 0 keeps the outline.
        smooth: How often the corners of boundaries are cut, 0 to 5.
        licence: Under which others may use the products.
        tile: Pixels along the side of what a worker looks at; changes no result.
        fresh: Compute everything again, and replace whatever the folder holds.
        cluster: `"local"`, the address of a Dask scheduler, …
        workers: Worker processes; fitted to machine and work by default, 0: none beside this one.
        progress: Called with the name of a stage, how much of it is done, and how much there is.
        **settings: Of the method: `scale=8`, `levels=[4, 8, 16]`.

    Returns:
        The finished objects; `result.polygons()` is a GeoDataFrame.

    Raises:
        InputError: One line that names the file, the fact and the mend.

    Examples:
        >>> import landweave as lw
        >>> lw.objects("scene.tif", "objects", scale=8).polygons()[["number", "area_m2"]]
    """
    from flows.objects.run import run
    from flows.partitions.partition import Partition
    from flows.requests.objects import NamedPartition, ObjectsRequest
    from flows.run.look import look
    from flows.run.mask_first import mask_first

    source = source_of(
        scene, bands=bands, nodata=nodata, scale=pixel_scale, offset=pixel_offset, mask=mask,
        mask_values=mask_values, mask_bits=mask_bits, mask_grow=mask_grow, date=date,
    )  # fmt: skip
    asked = {
        "aoi": aoi, "indices": indices, "simplify": simplify, "smooth": smooth,
        "min_object": min_object, "max_object": max_object, "fill_holes": fill_holes,
        "regularise": regularise,
        "licence": licence, "tile": tile, "fresh": fresh,
        "network": None if segmenter is None else os.fspath(segmenter),
    }  # fmt: skip
    if isinstance(method, Partition):
        if settings:
            raise InputError(
                f"{', '.join(settings)}: settings stand beside a name; give them to "
                f"{type(method).__name__}(…)"
            )
        chosen = method
    else:
        chosen = NamedPartition(method=method, settings=settings).value()
    request = validate(
        ObjectsRequest, source=source, out=Path(out), partition=chosen, **drop_none(asked)
    )
    on, told = cluster_of(cluster, workers), progress or silent
    with empty_main():
        seen = mask_first(source, request.out, on=on, progress=told, fresh=request.fresh)
        request = request.model_copy(update={"source": seen})
        finished = run(request, on=on, progress=told, look=look)
    return Objects(finished.folder, finished)
