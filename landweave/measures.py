"""Figures: how good a map is, and the spectral indices of a scene."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flows.compute.progress import silent
from flows.compute.spawning import empty_main
from flows.parsing import validate
from flows.requests import maps
from landweave.inputs import (
    PathLike,
    Progress,
    SceneLike,
    drop_none,
    pool_of,
    raster_of,
    source_of,
    unify_errors,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from segmentation.accuracy.confusion import Accuracy
    from segmentation.accuracy.instances import ObjectAccuracy


@dataclass(frozen=True, repr=False)
class Evaluation:
    """How a map fares against a reference."""

    accuracy: Accuracy
    """Every figure, areas and calibration among them."""
    files: tuple[Path, ...] = ()
    """Tables and pictures, where a folder was named."""

    @property
    def overall_accuracy(self) -> float:
        """Part of the compared pixels that is right, 0–1."""
        return self.accuracy.overall_accuracy

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of the classes that either side has, 0–1."""
        return self.accuracy.mean_iou

    @property
    def kappa(self) -> float:
        """Cohen's: agreement beyond what chance would give."""
        return self.accuracy.kappa

    @property
    def classes(self) -> pd.DataFrame:
        """IoU, F1, precision, recall and support (pixels) of each class, by its name."""
        import pandas as pd

        from flows.assessment.figures import class_table

        header, rows = class_table(self.accuracy)
        return pd.DataFrame(rows, columns=header).set_index("name")

    @property
    def confusion(self) -> pd.DataFrame:
        """Pixels by true class along rows and class of the map along columns."""
        import pandas as pd

        names = [one.name for one in self.accuracy.classes]
        index, columns = pd.Index(names, name="true"), pd.Index(names, name="map")
        return pd.DataFrame(list(self.accuracy.matrix), index=index, columns=columns)

    def __repr__(self) -> str:
        accuracy, iou, kappa = self.overall_accuracy, self.mean_iou, self.kappa
        return (
            f"<Evaluation: overall accuracy {accuracy:.3f}, mean IoU {iou:.3f}, kappa {kappa:.3f}>"
        )

    def _repr_html_(self) -> str:
        from landweave.pages import accuracy_page

        return accuracy_page(self.accuracy)


@unify_errors
def evaluate(
    raster: PathLike,
    reference: PathLike,
    *,
    out: PathLike | None = None,
    column: str | None = None,
    map_classes: Mapping[int | str, int | str | None] | None = None,
    reference_classes: Mapping[int | str, int | str | None] | None = None,
    mask: PathLike | None = None,
    mask_value: int | None = None,
    on: Literal["auto", "map", "reference"] | None = None,
    tolerance: float | None = None,
    confidence: PathLike | None = None,
    bins: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare a class map with a reference: accuracy, IoU, F1, boundaries, calibration, areas.

    Args:
        raster: A run, its folder, or a raster of classes.
        reference: What is right: a raster of classes, or polygons or points with a column of them.
        out: Folder for tables and pictures; none are written by default.
        column: Column of the classes, where the reference is shapes.
        map_classes: What classes of the map count as, by number or name: `{"Crops": "Open"}`;
            None leaves a class out.
        reference_classes: The same for classes of the reference.
        mask: Raster that says where to look.
        mask_value: Its value there, 1 by default.
        on: Whose grid; the map's, unless the reference is more than twice as fine.
        tolerance: How far boundaries may lie apart, in m; two pixels by default, 0 compares none.
        confidence: The map's; that beside `classes.tif` is found.
        bins: Bins of confidence for the calibration error.
        workers: Worker processes; fitted to machine and work by default, 0: none beside this one.
        progress: Called with the name of a stage, how much of it is done, and how much there is.

    Returns:
        Overall accuracy, mean IoU and kappa, and `classes` and `confusion` as data frames.

    Raises:
        InputError: Where the two share no pixel, or classes are not to be matched.

    Examples:
        >>> import landweave as lw
        >>> lw.evaluate("run", "truth.tif").mean_iou
        0.857
    """
    from flows.assessment.evaluate import evaluate as compare
    from flows.assessment.evaluate import work_pieces
    from flows.assessment.figures import write_accuracy
    from tiling.io.files import check_folder

    settings = {
        "out": out, "column": column, "map_classes": as_texts(map_classes),
        "reference_classes": as_texts(reference_classes), "mask": mask, "mask_value": mask_value,
        "on": on, "tolerance": tolerance, "confidence": confidence, "bins": bins,
    }  # fmt: skip
    places = {"map": raster_of(raster), "reference": os.fspath(reference)}
    request = validate(maps.Evaluation, **places, **drop_none(settings))
    if request.out:
        check_folder(request.out)
    with pool_of(workers, work_pieces(request.map), 2**29) as pool:
        accuracy = compare(
            request.map, request.reference, map=pool.map, progress=progress or silent,
            **request.settings,
        )  # fmt: skip
    return Evaluation(accuracy, write_accuracy(accuracy, request.out) if request.out else ())


@unify_errors
def evaluate_objects(
    objects: PathLike,
    reference: PathLike,
    *,
    out: PathLike | None = None,
    column: str | None = None,
    tolerance: float | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ObjectAccuracy:
    """Compare objects one by one with a reference's: average precision, panoptic quality, recall.

    Args:
        objects: A raster of ids, 0 = none, or polygons; their column `score` orders them.
        reference: What is right: a raster of ids or polygons.
        out: Folder for the tables; none are written by default.
        column: Column of the classes of polygons, on both sides; objects are matched within them.
        tolerance: How far outlines may lie apart, in m; two pixels by default, 0 compares none.
        workers: Worker processes; fitted to machine and work by default, 0: none beside this one.
        progress: Called with the name of a stage, how much of it is done, and how much there is.

    Returns:
        `mean` and `classes`, each with `ap`, `ap50`, `recall`, `pq` …; `boundary_f1` of outlines.

    Raises:
        InputError: Where a file holds no objects, or the two do not meet.

    Examples:
        >>> import landweave as lw
        >>> lw.evaluate_objects("buildings.gpkg", "truth.gpkg").mean.pq
        0.71
    """
    from flows.assessment.figures import write_object_accuracy
    from flows.assessment.match_objects import evaluate_objects as compare
    from flows.assessment.match_objects import work_pieces
    from tiling.io.files import check_folder

    places = {"map": os.fspath(objects), "reference": os.fspath(reference), "objects": True}
    settings = drop_none({"out": out, "column": column, "tolerance": tolerance})
    request = validate(maps.Evaluation, **places, **settings)
    if request.out:
        check_folder(request.out)
    with pool_of(workers, work_pieces(request.map, request.reference), 2**29) as pool:
        accuracy = compare(
            request.map, request.reference, map=pool.map, progress=progress or silent,
            **request.object_settings,
        )  # fmt: skip
    if request.out:
        write_object_accuracy(accuracy, request.out)
    return accuracy


@unify_errors
def indices(
    scene: SceneLike,
    names: str | Sequence[str],
    out: PathLike,
    *,
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
    mask: str | None = None,
    mask_values: Sequence[int] | None = None,
    mask_bits: Sequence[int] | None = None,
    mask_grow: int | None = None,
    date: datetime.date | str | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Compute spectral indices of a scene, each a cloud-optimised GeoTIFF in a folder.

    Args:
        scene: As `open_scene` takes it, or what it returns; and so are the settings below.
        names: Such as `["NDVI", "MNDWI"]`; `list_indices` lists them.
        out: Folder of the rasters; made if need be.
        bands: Band name to band number from 1, where the file does not say.
        nodata: Pixel value that means no data.
        scale: Reflectance = pixel × scale + offset.
        offset: See `scale`.
        mask: `"band=N"` or a raster whose values mark pixels to leave out.
        mask_values: Values of the mask to leave out; all but 0 by default.
        mask_bits: Bits of the mask, from 0, that leave a pixel out where one is set.
        mask_grow: Pixels left out around what a model of clouds leaves out.
        date: Day of the image.
        progress: Called with the name of a stage, how much of it is done, and how much there is.

    Returns:
        A variable `(y, x) float32` for each index, NaN = no data, read when it is computed.

    Raises:
        InputError: Where an index is unknown, or the scene lacks its bands.

    Examples:
        >>> import landweave as lw
        >>> float(lw.indices("scene.tif", "NDVI", "indices")["NDVI"].mean())
        0.41
    """
    import xarray as xr

    from flows.products.index_rasters import write_indices
    from flows.run.mask_first import mask_first
    from landweave.rasters import open_raster

    source = source_of(
        scene, bands=bands, nodata=nodata, scale=scale, offset=offset, mask=mask,
        mask_values=mask_values, mask_bits=mask_bits, mask_grow=mask_grow, date=date,
    )  # fmt: skip
    listed = [names] if isinstance(names, str) else list(names)
    with empty_main():
        source = mask_first(source, Path(out), progress=progress or silent)
    written = write_indices(source, listed, Path(out), progress or silent)
    return xr.Dataset({path.stem: open_raster(str(path)) for path in written})


@unify_errors
def list_indices(scene: SceneLike | None = None) -> pd.DataFrame:
    """The spectral indices there are: long name, domain, formula, source and bands of each.

    Args:
        scene: A scene whose bands are looked at; `missing` then says what each index lacks.

    Returns:
        A row for each index, by its name.

    Raises:
        InputError: Where no scene can come of `scene`.

    Examples:
        >>> import landweave as lw
        >>> lw.list_indices().loc["NDVI", "formula"]
        '(N - R)/(N + R)'
    """
    import pandas as pd

    from flows.products.index_rasters import index_facts

    opened = None if scene is None else source_of(scene).open()
    return pd.DataFrame(index_facts(opened)).set_index("name")


def as_texts(classes: Mapping[int | str, int | str | None] | None) -> dict[str, str] | None:
    """What classes count as, as a request has it: texts, an empty one where they are left out."""
    if classes is None:
        return None
    return {str(one): "" if new is None else str(new) for one, new in classes.items()}
