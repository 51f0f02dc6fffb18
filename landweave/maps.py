"""Maps of scenes: made, planned, and opened again."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.compute.progress import silent
from flows.compute.spawning import empty_main
from flows.parsing import validate
from flows.requests.request import Grid, Preflight, Product, Request
from flows.requests.source import Source
from flows.storage.remote import Remote
from landweave.inputs import (
    PathLike,
    Progress,
    SceneLike,
    cluster_of,
    drop_none,
    place_at,
    segmenter_of,
    source_of,
    unify_errors,
)
from landweave.results import Plan, Run
from segmentation.segmenter import Segmenter
from tiling.regions.sieving.rule import Rule

if TYPE_CHECKING:
    import xarray as xr

    from flows.compute.cluster import Cluster


@unify_errors
def segment(
    scene: SceneLike | xr.DataArray | xr.Dataset,
    out: PathLike,
    *,
    segmenter: PathLike | Segmenter = "rules",
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
    mask: str | None = None,
    mask_values: Sequence[int] | None = None,
    mask_bits: Sequence[int] | None = None,
    mask_grow: int | None = None,
    date: datetime.date | str | None = None,
    windows: Mapping[str, str] | None = None,
    window_method: str | None = None,
    aoi: PathLike | None = None,
    products: Sequence[Product] | None = None,
    grid: Grid | None = None,
    objects: float | None = None,
    unknown_below: float | None = None,
    min_area: float | None = None,
    min_area_rule: Rule | None = None,
    fill_holes: float | None = None,
    max_area: float | None = None,
    indices: Sequence[str] | None = None,
    simplify: float | None = None,
    smooth: int | None = None,
    reference: PathLike | None = None,
    preflight: Preflight | None = None,
    licence: str | None = None,
    shard: int | None = None,
    fresh: bool | None = None,
    cluster: str | Cluster = "local",
    workers: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Run:
    """Make a land-cover map of a scene: class raster, confidence, polygons, areas and a quicklook.

    What an earlier run in the same folder finished is not done again. Memory follows from the
    shard and the workers, never from the size of the scene.

    Args:
        scene: Path or URL of a raster, of a folder of single-band files or of a STAC item; a list
            of such; a mapping such as `{"blue": "B02.tif"}`; what `open_scene` returns; or an
            `xarray.DataArray` `(band, y, x)` or `Dataset` of `(y, x)` with a CRS, as rioxarray and
            odc-geo have it. An array is written block by block into the folder of the run.
        out: Folder of the run, on a disk or as `s3://…`, `gs://…` or `az://…`; made if need be.
        segmenter: A kind such as `"rules"`, `"otsu"` or that of a plug-in; a trained model, by
            its name, its folder, its `hf://` id or as `train` returns it; or a segmenter itself.
        bands: Band name to band number from 1, where the file does not say.
        nodata: Pixel value that means no data.
        scale: Reflectance = pixel × scale + offset.
        offset: See `scale`.
        mask: `"band=N"` or a raster whose values mark pixels to leave out, or `"model:NAME"`.
        mask_values: Values of the mask to leave out; all but 0 by default.
        mask_bits: Bits of the mask, from 0, that leave a pixel out where one is set.
        mask_grow: Pixels left out around what a model of clouds leaves out.
        date: Day of the image.
        windows: Periods such as `{"early": "2024-04/2024-05"}`: the scene is a folder or a list of
            dated images, and each period a composite whose bands are `early.red` and so on.
        window_method: What a pixel becomes of its dates there, such as `"median"`, the default.
        aoi: Vector file whose polygons bound the products.
        products: Of classes, confidence, vectors, probabilities, entropy and margin; the first
            three by default. The classes always come.
        grid: Whose pixels they have: `"scene"`, or `"model"` for the size that a network sees.
        objects: Scale of objects, such as 8: the pixels of each have its one class.
        unknown_below: In percent: pixels of less confidence become a class Unknown.
        min_area: Smallest region the products show, in m²; four pixels by default, 0 shows all.
        min_area_rule: Which neighbour absorbs a smaller region.
        fill_holes: Smaller holes, in m², go to the polygon around them; not those with no data.
        max_area: Larger polygons, in m², are cut along a fixed lattice of squares of this area.
        indices: Spectral indices whose mean each polygon gets, such as `["NDVI"]`.
        simplify: How far boundaries may move, in m; 0.75 pixel by default, 0 keeps the outline.
        smooth: How often the corners of boundaries are cut, 0 to 5.
        reference: Class raster to compare the map with.
        preflight: `"refuse"` or `"warn"` where the pixels are not what a model was trained on.
        licence: Under which others may use the products.
        shard: Target length of a piece of work in pixels; changes no result.
        fresh: Compute everything again, and replace whatever run the folder holds.
        cluster: `"local"`, the address of a Dask scheduler, `"cuda"`, `"slurm"`, …
        workers: Worker processes; fitted to machine and work by default, 0: none beside this one.
        progress: Called with the name of a stage, how much of it is done, and how much there is.
        **settings: Of the segmenter, where it is named: `segmenter="otsu", index="NDVI"`.

    Returns:
        The finished run. `run.classes` is an `xarray.DataArray` `(y, x) uint8`, 0 = no data.

    Raises:
        InputError: One line that names the file, the fact and the mend.

    Examples:
        >>> import landweave as lw
        >>> run = lw.segment("scene.tif", "run", min_area=5000)
        >>> run.areas[["class_name", "hectares"]]
    """
    from flows.run import pipeline
    from flows.run.mask_first import mask_windows
    from landweave.rasters import drop_others

    told, place = progress or silent, place_at(out)
    on, chosen = cluster_of(cluster, workers), segmenter_of(segmenter, settings)
    reading = {
        "bands": bands, "nodata": nodata, "scale": scale, "offset": offset, "mask": mask,
        "mask_values": mask_values, "mask_bits": mask_bits, "mask_grow": mask_grow, "date": date,
        "windows": windows, "window_method": window_method,
    }  # fmt: skip
    source = source_in(scene, place, reading, told)
    request = request_of(
        source, place, chosen, aoi=aoi, products=products, grid=grid, objects=objects,
        unknown_below=unknown_below, min_area=min_area, min_area_rule=min_area_rule,
        fill_holes=fill_holes, max_area=max_area,
        indices=indices, simplify=simplify, smooth=smooth, reference=reference,
        preflight=preflight, licence=licence, shard=shard, fresh=fresh,
    )  # fmt: skip
    with empty_main():
        request = mask_windows(request, on=on, progress=told)
        published = pipeline.run(request, on=on, progress=told)
    drop_others(place, source.paths)
    return Run(published.folder, published.record)


@unify_errors
def plan(
    scene: SceneLike,
    *,
    segmenter: PathLike | Segmenter = "rules",
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
    mask: str | None = None,
    mask_values: Sequence[int] | None = None,
    mask_bits: Sequence[int] | None = None,
    mask_grow: int | None = None,
    date: datetime.date | str | None = None,
    aoi: PathLike | None = None,
    products: Sequence[Product] | None = None,
    grid: Grid | None = None,
    objects: float | None = None,
    unknown_below: float | None = None,
    min_area: float | None = None,
    indices: Sequence[str] | None = None,
    reference: PathLike | None = None,
    preflight: Preflight | None = None,
    shard: int | None = None,
    **settings: Any,
) -> Plan:
    """Say what `segment` would do: bands found, tiles, shards, memory. Writes nothing.

    Args:
        scene: As `segment` takes it, but for arrays.
        segmenter: As `segment` takes it, and so are all settings below.
        bands: Band name to band number from 1, where the file does not say.
        nodata: Pixel value that means no data.
        scale: Reflectance = pixel × scale + offset.
        offset: See `scale`.
        mask: `"band=N"` or a raster whose values mark pixels to leave out, or `"model:NAME"`.
        mask_values: Values of the mask to leave out; all but 0 by default.
        mask_bits: Bits of the mask, from 0, that leave a pixel out where one is set.
        mask_grow: Pixels left out around what a model of clouds leaves out.
        date: Day of the image.
        aoi: Vector file whose polygons bound the products.
        products: What is to be made.
        grid: `"scene"`, or `"model"` for pixels of the size that a network sees.
        objects: Scale of objects, such as 8: the pixels of each have its one class.
        unknown_below: In percent: pixels of less confidence become a class Unknown.
        min_area: Smallest region the products show, in m².
        indices: Spectral indices whose mean each polygon gets.
        reference: Class raster to compare the map with.
        preflight: `"refuse"` or `"warn"` where the pixels are not what a model was trained on.
        shard: Target length of a piece of work in pixels.
        **settings: Of the segmenter, where it is named.

    Returns:
        The plan: `plan.facts` for programs, in pixels and bytes; shown as a table in a notebook.

    Raises:
        InputError: Whatever `segment` would find wrong before it begins.

    Examples:
        >>> import landweave as lw
        >>> lw.plan("scene.tif", segmenter="demo").facts["shards"]
        1
    """
    from flows.plan.describe import describe
    from flows.plan.plan import facts_of, make_plan

    source = source_of(
        scene, bands=bands, nodata=nodata, scale=scale, offset=offset, mask=mask,
        mask_values=mask_values, mask_bits=mask_bits, mask_grow=mask_grow, date=date,
    )  # fmt: skip
    request = request_of(
        source, Path("landweave-plan"), segmenter_of(segmenter, settings), aoi=aoi,
        products=products, grid=grid, objects=objects, unknown_below=unknown_below,
        min_area=min_area, indices=indices, reference=reference, preflight=preflight, shard=shard,
    )  # fmt: skip
    made = make_plan(request)
    return Plan(facts_of(made), describe(made))


def source_in(
    scene: SceneLike | xr.DataArray | xr.Dataset,
    place: Path | Remote,
    settings: Mapping[str, Any],
    progress: Progress,
) -> Source:
    """The source of a scene; an array is written below the folder of its run."""
    from landweave.rasters import is_array, write_array

    if not is_array(scene):
        return source_of(scene, **settings)
    stored = write_array(scene, place, progress)
    return source_of(stored.paths, **(stored.settings | drop_none(settings)))


def request_of(
    source: Source, out: Path | Remote, segmenter: Segmenter, **settings: Any
) -> Request:
    """The request, whose own defaults stand for what is None."""
    return validate(Request, source=source, out=out, segmenter=segmenter, **drop_none(settings))
