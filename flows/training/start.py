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
from segmentation.interchange.encoder_weights import read_encoder
from segmentation.models.hub import is_id
from segmentation.models.known_models import encoder_names, known_encoder
from segmentation.training.fine_tuning import Start, check_start, recipe_for
from segmentation.training.recipe import ForestRecipe
from tiling.errors import InputError


def open_start(request: Training, progress: Progress = silent) -> tuple[Training, Start | None]:
    """What a training starts from, None where from nothing; and the training, of the network that
    this is the encoder of.

    A known encoder is fetched once. Raises `InputError` before a scene is read.
    """
    named = request.weights
    if named in ("", "none"):
        return request, None
    if isinstance(request.recipe, ForestRecipe):
        raise InputError(
            f"a {request.recipe.architecture} grows from labels alone; leave --weights {named} out"
        )
    if named == "imagenet":
        return request, "imagenet"
    if named in encoder_names():
        known = known_encoder(named)
        recipe = recipe_for(request.recipe, known)
        taught = read_encoder(known, fetch_encoder(named, progress))
        return request.model_copy(update={"recipe": recipe}), taught
    close = "" if is_id(named) or Path(named).exists() else nearest(named, encoder_names())
    try:
        bundle = open_bundle(named)
    except INPUT_ERRORS as error:
        raise InputError(f"{error}{close}") from error
    check_start(request.recipe, bundle)
    return request, bundle
