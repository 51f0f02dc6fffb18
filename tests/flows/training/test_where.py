"""Where a training is done: by a worker that declares a graphics card, where one does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.compute import worker_check
from flows.compute.cluster import Cluster
from flows.compute.pool import R, T, ThisProcess
from flows.requests.source import Source
from flows.requests.training import Training
from flows.training import where
from flows.training.train import train
from flows.training.where import train_in, train_on, with_absolute_paths
from segmentation.training.recipe import ForestRecipe, Recipe
from tests.flows.training.test_train import truth_of, write_labels
from tests.scenes import draw_pixels, write_scene
from tiling.errors import InputError


class WithCard(ThisProcess):
    """Workers that declare a card; it notes what went to one."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Any] = []

    def cards(self) -> dict[str, float]:
        return {"tcp://one": 4.0, "tcp://other": 4.0}

    def as_completed(
        self, function: Callable[[T], R], items: Iterable[T], *, gpu: bool = False
    ) -> Iterator[tuple[T, R | Exception]]:
        assert gpu
        for item in items:
            self.sent.append(item)
            yield item, self._outcome(function, item)


@pytest.fixture
def request_(tmp_path: Path) -> Training:
    """A small forest, which takes a second."""
    scene = write_scene(tmp_path / "scene.tif", draw_pixels(64, 96))
    labels = write_labels(tmp_path / "labels.tif", truth_of(draw_pixels(64, 96)))
    recipe = ForestRecipe(architecture="random-forest", trees=3, per_class=50)
    return Training(
        sources=(Source(paths=(str(scene),)),),
        labels=(str(labels),),
        out=tmp_path / "made" / "bundle",
        recipe=recipe,
    )


def test_a_worker_with_a_card_trains_and_a_note_says_so(
    request_: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_check, "card_problem", lambda: None)
    pool = WithCard()
    finished = train_in(pool, request_)
    assert pool.sent == [with_absolute_paths(request_)]
    assert finished.notes[-1] == "trained by one of the 2 workers with a graphics card"
    again = train(request_.model_copy(update={"out": request_.out.with_name("here")}))
    assert again.bundle.weights_file.read_bytes() == finished.bundle.weights_file.read_bytes()


def test_a_worker_in_another_folder_finds_what_was_typed(
    request_: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = request_.sources[0].model_copy(update={"paths": ("red=scene.tif", "hf://x/scene.tif")})
    typed = {"sources": (source,), "labels": ("labels.tif",), "out": Path("made/bundle")}
    told = with_absolute_paths(request_.model_copy(update={**typed, "weights": "imagenet"}))
    assert told.sources[0].paths == (f"red={tmp_path}/scene.tif", "hf://x/scene.tif")
    assert (told.labels, told.out) == (request_.labels, request_.out)
    assert (told.weights, told.sources[0].mask) == ("imagenet", source.mask)


def test_where_none_has_a_card_this_process_trains(request_: Training) -> None:
    finished = train_in(ThisProcess(), request_)
    assert "no worker of the cluster has a graphics card" in finished.notes[-1]


def test_what_a_worker_finds_wrong_is_a_mistake_here(
    request_: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_check, "card_problem", lambda: None)
    with pytest.raises(InputError, match="--weights imagenet out"):
        train_in(WithCard(), request_.model_copy(update={"weights": "imagenet"}))


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [
        (ForestRecipe(architecture="random-forest"), "tcp://127.0.0.1:1"),
        (Recipe(device="cpu"), "tcp://127.0.0.1:1"),
        (Recipe(), "local"),
    ],
)
def test_no_cluster_is_started_for_what_needs_none(
    request_: Training, recipe: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Training] = []
    monkeypatch.setattr(where, "train", lambda request, progress: asked.append(request))
    monkeypatch.setattr(where, "start", None)
    one = request_.model_copy(update={"recipe": recipe})
    train_on(Cluster(kind=kind), one)
    assert asked == [one]
