"""Models: trained on a person's own land, and listed."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flows.compute.progress import silent
from flows.compute.spawning import empty_main
from flows.parsing import validate
from flows.requests.training import Training
from landweave.inputs import (
    PathLike,
    Progress,
    Scene,
    SceneLike,
    cluster_of,
    drop_none,
    source_of,
    unify_errors,
)
from landweave.measures import Evaluation
from tiling.errors import InputError

if TYPE_CHECKING:
    from flows.compute.cluster import Cluster
    from flows.training.finished import Finished
    from segmentation.legend import Legend
    from segmentation.models.bundle import Bundle


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained model on disk, which `segment` takes as its segmenter."""

    bundle: Bundle
    validation: Evaluation | None = None
    """On the part of the labels that was kept aside while it was trained."""
    test: Evaluation | None = None
    """On the part that it never saw."""
    notes: tuple[str, ...] = ()
    """What a person should know of the training."""

    @property
    def folder(self) -> Path:
        return self.bundle.folder

    def __fspath__(self) -> str:
        """Its folder: wherever a path of a model is taken, so is the model."""
        return str(self.folder)

    @property
    def name(self) -> str:
        return self.bundle.card.name

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands it needs, in its order."""
        return self.bundle.card.band_names

    @property
    def legend(self) -> Legend:
        """The classes it tells apart."""
        return self.bundle.card.legend

    @property
    def metrics(self) -> Mapping[str, float]:
        """The model's accuracy on data it was not trained on, as its card states it."""
        return self.bundle.card.metrics

    @property
    def facts(self) -> dict[str, str]:
        """What a person wants to know before trusting it."""
        from flows.training.bundles import bundle_details

        return bundle_details(self.bundle)

    def __repr__(self) -> str:
        bands, classes = ", ".join(self.bands), len(self.legend)
        return f"<Model {self.name}: {bands} -> {classes} classes; {self.folder}>"

    def _repr_html_(self) -> str:
        from landweave.pages import model_page

        judged = {"Validation": self.validation, "Test": self.test}
        accuracies = {name: one.accuracy for name, one in judged.items() if one is not None}
        return model_page(self.bundle.card, self.facts, accuracies, self.notes)


@unify_errors
def train(
    scene: SceneLike | Sequence[SceneLike],
    labels: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    architecture: str | None = None,
    weights: str | None = None,
    column: str | None = None,
    classes: Mapping[int, str] | None = None,
    regroup: Mapping[int, int] | None = None,
    labels_nodata: float | None = None,
    instances: bool | None = None,
    boundary_width: int | str | None = None,
    labels_extent: PathLike | None = None,
    split: str | None = None,
    split_values: Mapping[str, int] | None = None,
    name: str | None = None,
    licence: str | None = None,
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
    mask: str | None = None,
    mask_values: Sequence[int] | None = None,
    mask_bits: Sequence[int] | None = None,
    mask_grow: int | None = None,
    date: datetime.date | str | None = None,
    fresh: bool | None = None,
    cluster: str | Cluster = "local",
    progress: Progress | None = None,
    **settings: Any,
) -> Model:
    """Train a model on scenes and labels; its bundle is what `segment` takes as a segmenter.

    Stopped and called again it goes on from where it was. The same seed gives the same bundle.

    Args:
        scene: A scene as `open_scene` takes it; where `labels` is a list, a list of as many scenes.
        labels: A class raster, polygons or points; a list of one for each scene.
        out: Folder of the bundle.
        architecture: A forest such as `"random-forest"`, or a network such as `"unet"`; by default
            one of each is trained, and what validates best is kept, or both.
        weights: A bundle to start from, a known encoder such as `"ssl4eo-s12-resnet50-moco"`,
            `"imagenet"` or `"none"`.
        column: Column of the classes in a vector file.
        classes: Value to name; what is not named is unlabelled.
        regroup: Value to the value whose class it joins.
        labels_nodata: Value of unlabelled pixels in class rasters.
        instances: Whether labels are objects, whose interior and boundary are learnt.
        boundary_width: How near another object makes a pixel boundary, in pixels or as `"10m"`; 0
            learns the sides between pixels, as networks do by default.
        labels_extent: Polygons within which every object is drawn; the hull of all by default.
        split: What validates: `"blocks"`, `"shapes"`, `"scenes"`, or a raster that marks parts.
        split_values: What the values of such a raster mean: `{"train": 1, "validation": 3}`.
        name: What the bundle is called; its folder's name by default.
        licence: Under which others may use it.
        bands: Band name to band number from 1, where the files of the scenes do not say.
        nodata: Pixel value that means no data.
        scale: Reflectance = pixel × scale + offset.
        offset: See `scale`.
        mask: `"band=N"` or a raster whose values mark pixels to leave out.
        mask_values: Values of the mask to leave out; all but 0 by default.
        mask_bits: Bits of the mask, from 0, that leave a pixel out where one is set.
        mask_grow: Pixels left out around what a model of clouds leaves out.
        date: Day of the image.
        fresh: Begin again, go on from nothing.
        cluster: Whose worker with a graphics card learns, where it has one: the address of a Dask
            scheduler, `"slurm"`, …; `"local"` is this process.
        progress: Called with the name of a stage, how much of it is done, and how much there is.
        **settings: Of the recipe, such as `seed=1`, `encoder="resnet34"` or `trees=200`;
            `landweave models --settings` explains them.

    Returns:
        The model, with what it got right on labels that were kept aside.

    Raises:
        InputError: Where labels and scene do not fit, or too few are left to learn from.

    Examples:
        >>> import landweave as lw
        >>> model = lw.train("scene.tif", "truth.tif", "my-forest", architecture="random-forest")
        >>> run = lw.segment("scene.tif", "my-map", segmenter=model)
    """
    from flows.requests.method import recipe_from
    from flows.run.mask_first import masks_first
    from flows.training.where import train_on

    reading = {
        "bands": bands, "nodata": nodata, "scale": scale, "offset": offset, "mask": mask,
        "mask_values": mask_values, "mask_bits": mask_bits, "mask_grow": mask_grow, "date": date,
    }  # fmt: skip
    listed, scenes = pair(labels, scene)
    recipe = settings if architecture is None else {"architecture": architecture, **settings}
    asked = {
        "column": column, "classes": classes, "regroup": regroup, "labels_nodata": labels_nodata,
        "instances": instances, "boundary_width": boundary_width,
        "labels_extent": None if labels_extent is None else os.fspath(labels_extent),
        "split": split, "split_values": split_values, "weights": weights, "name": name,
        "licence": licence, "fresh": fresh,
    }  # fmt: skip
    request = validate(
        Training, sources=[source_of(one, **reading) for one in scenes], labels=listed,
        out=Path(out), recipe=recipe_from(recipe), **drop_none(asked),
    )  # fmt: skip
    with empty_main():
        sources = masks_first(
            request.sources, request.out, progress=progress or silent, fresh=request.fresh
        )
    request = request.model_copy(update={"sources": sources})
    return model_of(train_on(cluster_of(cluster, None), request, progress or silent))


@unify_errors
def models(*places: PathLike) -> tuple[Model, ...]:
    """The trained models there are.

    Args:
        *places: Folders of models, folders of such folders, names or `hf://` ids; without any,
            the models that come with the package.

    Returns:
        A model for each.

    Raises:
        InputError: Where there is no model.

    Examples:
        >>> import landweave as lw
        >>> [model.name for model in lw.models()]
        ['demo']
    """
    from flows.training.bundles import find_bundles

    return tuple(Model(bundle) for bundle in find_bundles([os.fspath(place) for place in places]))


def model_of(finished: Finished) -> Model:
    """The model that a training left, and what it was judged by."""
    validation, test = (
        None if one is None else Evaluation(one) for one in (finished.validation, finished.test)
    )
    return Model(finished.bundle, validation, test, finished.notes)


def pair(
    labels: PathLike | Sequence[PathLike], scene: SceneLike | Sequence[SceneLike]
) -> tuple[list[str], list[SceneLike]]:
    """Labels and scenes, as many of the one as of the other."""
    if isinstance(labels, str | os.PathLike):
        return [os.fspath(labels)], [cast(SceneLike, scene)]
    one = isinstance(scene, str | os.PathLike | Mapping | Scene)
    scenes = [cast(SceneLike, scene)] if one else list(cast(Sequence[SceneLike], scene))
    if len(scenes) != len(labels):
        raise InputError(
            f"labels: {len(labels)} and scenes: {len(scenes)}; give lists of the same length"
        )
    return [os.fspath(path) for path in labels], scenes
