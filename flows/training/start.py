"""What a training starts from, as a person names it: a bundle, an encoder that others taught, or
photographs."""

from __future__ import annotations

from pathlib import Path

from flows.compute.progress import Progress, silent
from flows.errors import INPUT_ERRORS
from flows.parsing import nearest
from flows.requests.segmenters import fetch_encoder
from flows.requests.training import Training
from flows.training.bundles import open_bundle
from segmentation.detection.start import Start as DetectorStart
from segmentation.detection.start import check_start as check_detector
from segmentation.interchange.encoder_weights import read_encoder
from segmentation.models.hub import is_id
from segmentation.models.known_models import encoder_names, known_encoder
from segmentation.training.fine_tuning import Start, check_start, recipe_for
from segmentation.training.recipe import Recipe
from tiling.errors import InputError


def open_start(request: Training, progress: Progress = silent) -> tuple[Training, Start | None]:
    """What a training starts from, None where from nothing; and the training, of the network that
    this is the encoder of.

    A known encoder is fetched once. Raises `InputError` before a scene is read.
    """
    named, recipe = request.weights, request.recipe
    if named in ("", "none"):
        return request, None
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"a {recipe.architecture} grows from labels alone; leave --weights {named} out"
        )
    if named == "imagenet":
        return request, "imagenet"
    if named in encoder_names():
        known = known_encoder(named)
        recipe = recipe_for(recipe, known)
        taught = read_encoder(known, fetch_encoder(named, progress))
        return request.model_copy(update={"recipe": recipe}), taught
    close = "" if is_id(named) or Path(named).exists() else nearest(named, encoder_names())
    try:
        bundle = open_bundle(named)
    except INPUT_ERRORS as error:
        raise InputError(f"{error}{close}") from error
    check_start(recipe, bundle)
    return request, bundle


def open_detector(request: Training) -> DetectorStart:
    """What the training of a detector starts from, None where from nothing; `InputError` before a
    scene is read."""
    named = request.weights
    if named == "imagenet" or named in encoder_names():
        raise InputError(f"--weights {named} is for networks of classes; give coco, or a bundle")
    start: DetectorStart = None
    if named not in ("", "none"):
        start = "coco" if named == "coco" else open_bundle(named)
    check_detector(start)
    return start
