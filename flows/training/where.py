"""Where a training is done: by a worker with a graphics card, where there is one; else here."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from flows.compute import worker_check
from flows.compute.cluster import Cluster, start
from flows.compute.pool import Pool
from flows.compute.progress import Progress, silent
from flows.compute.waiting import Told, unheard
from flows.compute.work import Work
from flows.requests.training import Training
from flows.training.finished import Finished
from flows.training.train import train, with_windows
from segmentation.training.recipe import ForestRecipe


def train_on(
    cluster: Cluster, request: Training, progress: Progress = silent, told: Told = unheard
) -> Finished:
    """`train` where the cluster has a card for it; a note says where that was.

    A network goes as one piece of work to a worker that declares a card. Trained in this process
    are forests, and all where no worker declares one, or where this machine alone works: with the
    cards that it has. Raises `InputError` as `train`, and where a worker cannot open the scenes or
    write the bundle.
    """
    recipe = request.recipe
    if isinstance(recipe, ForestRecipe) or recipe.device == "cpu" or cluster.here:
        return train(request, progress)
    with start(cluster, Work(1, gpu=True), told) as pool:
        return train_in(pool, request, progress)


def train_in(pool: Pool, request: Training, progress: Progress = silent) -> Finished:
    """`train` by one of the workers that have a graphics card, or here where none has."""
    if not pool.cards():
        where = "no worker of the cluster has a graphics card: it is trained in this process"
        _log(where)
        finished = train(request, progress)
    else:
        where = f"trained by one of the {len(pool.cards())} workers with a graphics card"
        _log(where)
        request = with_absolute_paths(request)
        request.out.parent.mkdir(parents=True, exist_ok=True)
        request = with_windows(request, progress)
        scenes = [source.open() for source in request.sources]
        sources = [path for scene in scenes for path in scene.sources(scene.band_names)]
        worker_check.check(pool, sources, request.out.parent, gpu=True)
        ((_, outcome),) = pool.as_completed(train, [request], gpu=True)
        if isinstance(outcome, Exception):
            raise outcome
        finished = outcome
    return replace(finished, notes=(*finished.notes, where))


def with_absolute_paths(request: Training) -> Training:
    """The training as a process in another folder understands it."""
    sources = [
        source.model_copy(
            update={"paths": tuple(map(_absolute, source.paths)), "mask": _absolute(source.mask)}
        )
        for source in request.sources
    ]
    texts = {name: _absolute(getattr(request, name)) for name in PATHS}
    return request.model_copy(
        update={
            "sources": tuple(sources),
            "labels": tuple(map(_absolute, request.labels)),
            "out": request.out.absolute(),
            **texts,
        }
    )


PATHS = ("labels_extent", "split", "weights")
"""Fields that may name a file."""


def _absolute(text: str) -> str:
    """A path that is there, or NAME=PATH, with all its folders; anything else as it is."""
    name, equals, path = ("", "", text) if Path(text).exists() else text.partition("=")
    return f"{name}{equals}{Path(path).absolute()}" if path and Path(path).exists() else text


def _log(where: str) -> None:
    logging.getLogger("landweave").info(where)
