"""Training: what a network sees, that it learns, and that being killed changes nothing."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segmentation.errors import InputError
from segmentation.inference.transfer import normalise
from segmentation.legend import LAND_COVER, LandClass, Legend
from segmentation.models.bundle import save
from segmentation.models.card import QUANTILES, BandCard, Card
from segmentation.networks.architectures import build
from segmentation.networks.receptive_field import TOLERATED
from segmentation.training import loop
from segmentation.training.chip_sampler import PixelIndex, make_batch, read_normalised, read_targets
from segmentation.training.fine_tuning import initial_state
from segmentation.training.loop import (
    ProcessRank,
    Run,
    fit,
    fit_distributed,
    rate_at,
)
from segmentation.training.losses import IGNORED
from segmentation.training.recipe import (
    Recipe,
    choose_network,
    multiply_adds_per_pixel,
    resolve_recipe,
)
from segmentation.training.samples import TEST, TRAIN, VALIDATION, Samples
from segmentation.training.train_network import Trained, train_network
from segmentation.training.validation import accuracy, temperature
from tests.segmentation.labelled import BANDS, a_samples, draw
from tests.segmentation.small_networks import a_card, lively_state
from tiling.classmaps.legend import with_default_rows
from tiling.grid.tiles import TileGrid
from tiling.labels.instance_labels import label_sides

SMALL = Recipe(
    architecture="fullunet",
    options={"encoder_depth": 1, "decoder_channels": (8, 8)},
    chip=16,
    batch=4,
    steps=24,
)


def silent(stage: str, done: int, total: int) -> None:
    pass


def trained(
    scratch: Path, recipe: Recipe = SMALL, progress=silent, samples=None, weights=None
) -> Trained:  # type: ignore[no-untyped-def]
    return train_network(
        samples or a_samples(),
        recipe,
        name="t",
        licence="CC0-1.0",
        scratch=scratch,
        progress=progress,
        weights=weights,
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the undisturbed training was kept on its way."""
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="module")
def undisturbed(scratch: Path) -> Trained:
    """What the small recipe comes to on the plain samples."""
    return trained(scratch)


@pytest.fixture(scope="module")
def whole_run(undisturbed: Trained, scratch: Path) -> bytes:
    """The file that a training goes on from, as it is at the end."""
    return (scratch / "run.pt").read_bytes()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------------------------- what is seen


def a_small_card() -> Card:
    return a_card(
        bands=BANDS,
        mean=(0.05, 0.06, 0.2),
        std=(0.04, 0.03, 0.1),
        legend=LAND_COVER.subset(1, 3, 5),
    )


def test_training_and_inference_see_the_same() -> None:
    samples, card = a_samples(), a_small_card()
    piece = samples.pieces[0]
    expected = normalise(samples.chip(piece, slice(8, 40), slice(0, 32)), card)
    assert np.allclose(read_normalised(piece, card, 8, 0, 32, 32).pixels, expected, atol=1e-5)


def test_beyond_a_piece_there_is_nothing() -> None:
    samples, card = a_samples(), a_small_card()
    seen = read_normalised(samples.pieces[0], card, -8, 80, 32, 32)
    assert not seen.pixels[:, :8].any()
    assert not seen.pixels[:, :, 16:].any()
    assert not seen.valid[:8].any()
    targets = read_targets(samples.pieces[0], samples, (TRAIN, VALIDATION), -8, 80, 32, 32)
    assert (targets[:8] == IGNORED).all()
    assert (targets[8:, :16] != IGNORED).any()


def test_only_the_parts_asked_for_are_targets() -> None:
    samples = a_samples(draw(test=True))
    piece = samples.pieces[0]
    for part in (TRAIN, VALIDATION, TEST):
        targets = read_targets(piece, samples, (part,), 0, 0, 96, 96)
        assert np.array_equal(targets != IGNORED, piece.part == part)
        labelled = targets != IGNORED
        assert np.array_equal(
            np.array(samples.legend.values)[targets[labelled]], piece.labels[labelled]
        )


def test_statistics_are_those_of_the_pixels_nobody_is_judged_by() -> None:
    samples = a_samples(draw(seed=1), draw(40, 70, seed=2, test=True))
    seen = [
        piece.pixels[1][piece.valid & ~np.isin(piece.part, (VALIDATION, TEST))] * 1e-4
        for piece in samples.pieces
    ]
    values = np.concatenate(seen)
    green = samples.band_cards()[1]
    assert (green.name, green.units, green.dtype) == ("green", "reflectance", "uint16")
    assert green.mean == pytest.approx(values.mean(), rel=1e-5)
    assert green.std == pytest.approx(values.std(), rel=1e-5)
    assert green.quantiles == pytest.approx(np.quantile(values, QUANTILES), rel=1e-4)


@pytest.mark.parametrize(
    ("balance", "expected"), [(0, (0.9, 0.1)), (0.5, (0.75, 0.25)), (1, (0.5, 0.5))]
)
def test_chips_lie_on_classes_as_the_balance_says(
    balance: float, expected: tuple[float, float]
) -> None:
    piece = draw()
    labels = np.zeros_like(piece.labels)
    labels[:9, :10], labels[20, :10] = 1, 3
    samples = a_samples(
        replace(piece, labels=labels, part=np.where(labels > 0, TRAIN, 0).astype(np.uint8))
    )
    places = PixelIndex.of(samples, (TRAIN,), balance, 0)
    assert places.odds == pytest.approx((*expected, 0))
    rng = np.random.default_rng(0)
    drawn = [labels[places.draw(rng)[1:]] for _ in range(2000)]
    assert np.mean(np.array(drawn) == 1) == pytest.approx(expected[0], abs=0.04)


def test_every_chip_holds_a_label_and_follows_from_its_key() -> None:
    samples, card = a_samples(), a_small_card()
    places = PixelIndex.of(samples, (TRAIN,), 0, 0)
    recipe = SMALL.model_copy(update={"scale": 0.0})
    pixels, targets = make_batch(samples, places, recipe, card, (TRAIN,), (0, 2, 0, 7))
    assert pixels.shape == (4, 3, 16, 16)
    assert (targets != IGNORED).any(axis=(1, 2)).all()
    again, _ = make_batch(samples, places, recipe, card, (TRAIN,), (0, 2, 0, 7))
    other, _ = make_batch(samples, places, recipe, card, (TRAIN,), (0, 2, 0, 8))
    assert np.array_equal(pixels, again)
    assert not np.array_equal(pixels, other)
    halves = [
        make_batch(samples, places, recipe, card, (TRAIN,), (0, 2, 0, 7), slice(n, None, 2))[0]
        for n in (0, 1)
    ]
    assert np.array_equal(pixels[::2], halves[0])
    assert np.array_equal(pixels[1::2], halves[1])


@pytest.mark.parametrize("scale", [0.0, 0.4])
def test_labels_that_name_directions_are_made_once_a_chip_is_turned(scale: float) -> None:
    """The first band shows which object a pixel is of, so that chips tell what their labels are."""
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 40, (12, 12)).repeat(8, 0).repeat(8, 1).astype(np.int32)
    ids[rng.random(ids.shape) < 0.05] = 40  # objects of a pixel
    piece = draw()
    pixels = np.stack([1000 + 10 * ids, *piece.pixels[1:]]).astype(np.uint16)
    part = np.full(ids.shape, TRAIN, np.uint8)
    part[40:44, :] = VALIDATION
    everywhere = np.ones(ids.shape, bool)
    piece = replace(
        piece, pixels=pixels, valid=everywhere, labels=label_sides(ids), part=part, ids=ids
    )
    rows = with_default_rows((), range(1, 6))
    classes = tuple(LandClass(value=v, name=n, colour=c) for v, n, c in rows)
    samples = replace(a_samples(piece), legend=Legend(classes=classes), label=label_sides)
    card = a_small_card()
    places = PixelIndex.of(samples, (TRAIN,), 1, 0)
    recipe = SMALL.model_copy(update={"scale": scale, "light": 0.0, "batch": 24})
    found, targets = make_batch(samples, places, recipe, card, (TRAIN,), (0, 2, 0, 7))
    band = card.bands[0]
    shown = np.rint(((found[:, 0] * band.std + band.mean) / piece.scale[0] - 1000) / 10)
    known = targets != IGNORED
    checked = 0
    for seen, labels, there in zip(shown.astype(int), targets, known, strict=True):
        expected = label_sides(np.where(there, seen, 0)) - 1
        inside = there[1:-1, 1:-1] & there[2:, 1:-1] & there[1:-1, 2:]  # and so are its neighbours
        same = labels[1:-1, 1:-1] == expected[1:-1, 1:-1]
        assert same[inside].all()
        checked += np.count_nonzero(inside & (expected[1:-1, 1:-1] > 1))
    assert checked > 300
    assert known.any(axis=(1, 2)).all()
    assert (targets[:, -1] > 1).any()  # what lies beyond a chip tells of its last row
    assert (targets[:, -1][known[:, -1]] > 1).mean() == pytest.approx(
        (targets[known] > 1).mean(), abs=0.1
    )


# --------------------------------------------------------------------------------------------- runs


def test_the_rate_rises_to_its_peak_and_ends_near_nothing() -> None:
    rates = [rate_at(step, 100, 1.0) for step in range(100)]
    assert np.argmax(rates) == 20
    assert max(rates) == 1
    assert rates[-1] < 0.002
    assert np.all(np.diff(rates[:20]) > 0)
    assert np.all(np.diff(rates[20:]) < 0)


@pytest.mark.slow
def test_it_learns_and_tells_what_it_found(tmp_path: Path) -> None:
    found = trained(
        tmp_path, SMALL.model_copy(update={"steps": 120}), samples=a_samples(draw(test=True))
    )
    assert found.validation is not None
    assert found.test is not None
    assert found.validation.overall_accuracy > 0.9  # 0.33 by chance
    assert found.test.overall_accuracy > 0.9
    card = found.card
    assert card.metrics["test: overall accuracy"] == round(found.test.overall_accuracy, 4)
    assert card.network.support is not None
    assert card.network.margin % card.network.stride == 0
    assert card.network.disagreement <= TOLERATED
    assert 0.25 <= card.network.temperature <= 10
    assert card.training["labelled pixels"]["test"] == int(found.test.classes[0].support) + sum(
        one.support for one in found.test.classes[1:]
    )
    losses = [look.loss for look in found.looks]
    assert losses[-1] < losses[0] / 2


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_others(
    tmp_path: Path, undisturbed: Trained
) -> None:
    again = trained(tmp_path / "a")
    other = trained(tmp_path / "b", SMALL.model_copy(update={"seed": 1}))
    assert same(undisturbed.state, again.state)
    assert undisturbed.card == again.card
    assert not same(undisturbed.state, other.state)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "at"), [("train", 1), ("train", 13), ("train on all", 7)])
def test_a_training_that_was_killed_ends_with_the_same_weights(
    tmp_path: Path, undisturbed: Trained, stage: str, at: int
) -> None:
    class Killed(Exception):
        pass

    def killer(now: str, done: int, total: int) -> None:
        if (now, done) == (stage, at):
            raise Killed

    with pytest.raises(Killed):
        trained(tmp_path / "a", progress=killer)
    steps: list[int] = []
    resumed = trained(
        tmp_path / "a",
        progress=lambda now, done, total: steps.append(done) if now == stage else None,
    )
    assert same(resumed.state, undisturbed.state)
    assert resumed.looks == undisturbed.looks
    assert resumed.card == undisturbed.card
    assert not steps or steps[0] > at - 3  # of 24 steps, one in two is kept


def test_a_run_that_becomes_clearly_worse_ends_and_keeps_its_best(
    tmp_path: Path, undisturbed: Trained
) -> None:
    piece = draw()
    judged = piece.part == VALIDATION
    other = np.array([0, 3, 0, 5, 0, 1], np.uint8)[piece.labels]  # what is learnt is wrong there
    samples = a_samples(replace(piece, labels=np.where(judged, other, piece.labels)))
    run = Run(
        samples,
        SMALL.model_copy(update={"steps": 200}),
        undisturbed.card,
        (TRAIN,),
        0,
        tmp_path / "run.pt",
    )
    best, looks, step = fit(run, silent)
    assert looks[-1].step < 200
    assert step < looks[-1].step
    assert max(look.mean_iou for look in looks) == looks[step // run.every - 1].mean_iou
    again, same_looks, _ = fit(run, silent)  # it is over, and stays so
    assert same_looks == looks
    assert same(again, best)


def test_the_averaged_weights_are_judged_and_kept(tmp_path: Path, undisturbed: Trained) -> None:
    samples, card = a_samples(), undisturbed.card
    for parts in ((TRAIN,), (TRAIN, VALIDATION)):  # judged by the validation part, and by nothing
        run = Run(
            samples,
            SMALL.model_copy(update={"steps": 6, "rate": 0.01}),
            card,
            parts,
            0,
            tmp_path / f"{parts}.pt",
        )
        best, looks, step = fit(run, silent)
        assert step == looks[-1].step == 6
        kept = torch.load(run.file, weights_only=True)
        averaged = {
            k.removeprefix("module."): v for k, v in kept["averaged"].items() if k != "n_averaged"
        }
        assert same(best, averaged)
        assert not same(best, kept["model"])
        model = build(card)
        model.load_state_dict(averaged)
        if VALIDATION not in parts:
            assert (
                accuracy(model, samples, card, VALIDATION, run.windows).mean_iou
                == looks[-1].mean_iou
            )


def test_the_members_of_a_team_share_the_chips_of_a_step(tmp_path: Path) -> None:
    samples = a_samples()
    run = Run(
        samples,
        SMALL.model_copy(update={"steps": 3}),
        a_small_card(),
        (TRAIN,),
        0,
        tmp_path / "run.pt",
    )

    def chips(team: ProcessRank) -> list[list[bytes]]:
        with loop._batches(run, 0, team) as batches:
            return [[one.numpy().tobytes() for one in pixels] for pixels, _ in batches]

    alone, first, second = chips(ProcessRank()), chips(ProcessRank(0, 2)), chips(ProcessRank(1, 2))
    for whole, *shares in zip(alone, first, second, strict=True):
        assert [len(share) for share in shares] == [2, 2]
        assert sorted(shares[0] + shares[1]) == sorted(whole)
        assert len(set(whole)) == 4


def test_batches_are_made_a_few_ahead_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Counting(ThreadPoolExecutor):
        def submit(self, *given: Any, **options: Any) -> Any:
            asked.append(given)
            return super().submit(*given, **options)

    monkeypatch.setattr(loop, "ThreadPoolExecutor", Counting)
    run = Run(a_samples(), SMALL, a_small_card(), (TRAIN,), 0, tmp_path / "run.pt")
    with loop._batches(run, 0, ProcessRank()) as batches:
        for taken, _ in enumerate(batches, start=1):
            assert len(asked) <= taken + 4
    assert len(asked) == SMALL.steps


def test_weights_that_run_away_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the weights have run away by step \d+.*--set rate="):
        trained(tmp_path, SMALL.model_copy(update={"rate": 1e12}))


def test_a_step_too_small_for_a_norm_is_a_mistake(tmp_path: Path) -> None:
    recipe = Recipe(
        architecture="fullunet",
        options={"encoder_depth": 2, "decoder_channels": (8, 8, 8)},
        steps=2,
    )
    with pytest.raises(InputError, match="cannot learn from 1 chips of 4 px in a step"):
        trained(tmp_path, recipe.model_copy(update={"batch": 1, "chip": 4}))


def test_one_class_to_learn_from_is_a_mistake(tmp_path: Path) -> None:
    piece = draw()
    piece.part[(piece.part == TRAIN) & (piece.labels != 1)] = VALIDATION
    with pytest.raises(InputError, match="the training part has one class only"):
        trained(tmp_path, samples=a_samples(piece))


def test_without_validation_the_last_weights_are_the_best(tmp_path: Path) -> None:
    piece = draw()
    samples = a_samples(replace(piece, part=np.where(piece.part > 0, TRAIN, 0).astype(np.uint8)))
    found = trained(tmp_path, samples=samples)
    assert found.validation is None
    assert found.card.network.temperature == 1
    assert "validation: mean IoU" not in found.card.metrics


@pytest.mark.slow
def test_two_processes_share_a_run(tmp_path: Path, undisturbed: Trained) -> None:
    samples, card = a_samples(), undisturbed.card
    recipe = SMALL.model_copy(update={"steps": 100})
    run = Run(samples, recipe, card, (TRAIN,), 0, tmp_path / "run.pt")
    best, looks, _ = fit_distributed(run, silent, ["cpu", "cpu"])
    model = build(card)
    model.load_state_dict(best)
    assert looks[-1].step >= 50
    assert accuracy(model, samples, card, VALIDATION).overall_accuracy > 0.85


@pytest.mark.slow
def test_a_process_that_fails_ends_the_run_with_its_words(tmp_path: Path) -> None:
    """The others wait for it, and would for ever."""
    samples = a_samples()
    card = trained(tmp_path / "a").card
    run = Run(samples, SMALL, card, (TRAIN,), 0, tmp_path / "run.pt")
    with pytest.raises(RuntimeError, match=r"process 2 of 2 failed: .*nowhere"):
        fit_distributed(run, silent, ["cpu", "nowhere"])
    assert not list(tmp_path.glob(".*store"))


# -------------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(40_000, 4))).astype(np.float32)
    shares = np.exp(logits / true)
    shares /= shares.sum(1, keepdims=True)
    targets = (rng.random((40_000, 1)) > np.cumsum(shares, 1)).sum(1).astype(np.uint8)
    assert temperature(logits, targets) == pytest.approx(true, rel=0.03)


# -------------------------------------------------------------------------------------- fine tuning


def old_bundle(folder: Path):  # type: ignore[no-untyped-def]
    card = a_card()
    return save(folder, card, lively_state(card.model_dump_json()))


def test_bands_in_another_order_give_the_old_answers(tmp_path: Path) -> None:
    old = old_bundle(tmp_path / "old")
    order = [2, 0, 1]
    card = old.card.model_copy(update={"bands": tuple(old.card.bands[n] for n in order)})
    one, two = build(old.card).eval(), build(card).eval()
    one.load_state_dict(old.weights())
    two.load_state_dict(initial_state(two, card, old))
    chip = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(one(chip), two(chip[:, order]), atol=1e-4)


def test_a_new_band_starts_from_the_mean_of_the_old(tmp_path: Path) -> None:
    old = old_bundle(tmp_path / "old")
    extra = BandCard(name="swir16", mean=0, std=1)
    card = old.card.model_copy(update={"bands": (old.card.bands[1], extra)})
    state = initial_state(build(card), card, old)
    first = next(name for name, tensor in state.items() if tensor.ndim == 4)
    assert torch.equal(state[first][:, 0], old.weights()[first][:, 1])
    assert torch.allclose(state[first][:, 1], old.weights()[first].mean(1))


@pytest.mark.slow
def test_other_classes_begin_anew_and_all_else_stays(tmp_path: Path) -> None:
    old = old_bundle(tmp_path / "old")
    card = old.card.model_copy(update={"legend": LAND_COVER.subset(1, 2, 5)})
    model = build(card)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = initial_state(model, card, old)
    kept = [name for name in state if state[name].shape == old.weights()[name].shape]
    assert all(torch.equal(state[name], old.weights()[name]) for name in kept)
    anew = set(state) - set(kept)
    assert anew
    assert all(torch.equal(state[name], fresh[name]) for name in anew)


def test_classes_of_the_same_names_stay_whatever_their_values_and_colours(tmp_path: Path) -> None:
    old = old_bundle(tmp_path / "old")
    classes = [
        one.model_copy(update={"value": one.value + 20, "colour": "#123456"})
        for one in old.card.legend.classes
    ]
    card = old.card.model_copy(update={"legend": Legend(classes=tuple(classes))})
    assert same(initial_state(build(card), card, old), old.weights())


def test_weights_of_another_network_than_the_card_tells_of_are_refused(tmp_path: Path) -> None:
    old = old_bundle(tmp_path / "old")
    network = old.card.network.model_copy(update={"options": {}})
    other = save(tmp_path / "other", old.card.model_copy(update={"model": network}), old.weights())
    with pytest.raises(InputError, match=r"the weights in .*other do not fit unet on"):
        initial_state(build(other.card), other.card, other)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"architecture": "unet"},
            "architecture unet was asked for, and of bundle t it is fullunet; leave architecture",
        ),
        ({"encoder": "resnet18"}, "encoder resnet18 was asked for, and of bundle t it is plain"),
        (
            {"options": {"encoder_depth": 2}},
            "encoder_depth 2 was asked for, and of bundle t it is 1",
        ),
        ({"options": {"members": 3}}, "members 3 was asked for, and of bundle t it is the default"),
    ],
)
def test_another_network_than_that_of_the_weights_is_refused(
    tmp_path: Path, undisturbed: Trained, asked: dict[str, Any], said: str
) -> None:
    old = save(tmp_path / "old", undisturbed.card, undisturbed.state)
    with pytest.raises(InputError, match=said):
        trained(tmp_path / "b", Recipe(chip=16, batch=4, steps=2, **asked), weights=old)


def test_a_gpu_that_is_not_there_is_a_setting_to_leave_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch finds no GPU here; use --set device=cpu"):
        trained(tmp_path, SMALL.model_copy(update={"device": "cuda"}))


def test_fine_tuning_keeps_what_the_old_network_knows_of_the_bands(
    tmp_path: Path, undisturbed: Trained
) -> None:
    first = undisturbed
    old = save(tmp_path / "old", first.card, first.state)
    samples = a_samples(draw(seed=5))
    again = trained(
        tmp_path / "b",
        SMALL.model_copy(update={"steps": 4, "rate": 1e-5}),
        samples=samples,
        weights=old,
    )
    assert [(b.mean, b.std) for b in again.card.bands] == [
        (b.mean, b.std) for b in first.card.bands
    ]
    assert again.card.training["started from"] == {"model": "t", "digest": old.digest}
    assert "started from" not in first.card.training
    assert again.validation is not None
    assert again.validation.overall_accuracy > 0.8  # from the first step on


def test_a_full_disk_stops_a_run_in_one_line_and_leaves_what_it_kept_before(
    tmp_path: Path, undisturbed: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_as_ever, times = torch.save, itertools.count()

    def full(state: object, file: Path) -> None:
        save_as_ever(state, file)
        if next(times) == 2:
            raise RuntimeError(
                "[enforce fail at inline_container.cc:671] . unexpected pos 576576 vs 576472"
            )

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        InputError,
        match=r"cannot keep in .* what the training has become .* is its disk full\? make room",
    ):
        trained(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    assert same(trained(tmp_path).state, undisturbed.state)


@pytest.mark.parametrize("left", [b"", b"noise", 0.5])
def test_a_damaged_file_to_go_on_from_is_named_with_what_to_do(
    tmp_path: Path, whole_run: bytes, left: bytes | float
) -> None:
    (tmp_path / "run.pt").write_bytes(
        left if isinstance(left, bytes) else whole_run[: int(left * len(whole_run))]
    )
    with pytest.raises(
        InputError,
        match=r"run\.pt, from which the training would go on, is damaged .* with --fresh",
    ):
        trained(tmp_path)


def in_place(west: float, east: float) -> Samples:
    """Samples of a scene that lies between two meridians."""
    samples = a_samples()
    return replace(samples, facts={**samples.facts, "bbox": [west, 46.0, east, 47.0]})


def test_a_start_from_what_learnt_in_the_same_place_casts_doubt_on_the_figures(
    tmp_path: Path,
) -> None:
    quick = SMALL.model_copy(update={"steps": 2})
    first = trained(tmp_path / "a", quick, samples=in_place(10.0, 11.0))
    old = save(tmp_path / "old", first.card, first.state)
    again = trained(tmp_path / "b", quick, samples=in_place(10.5, 12.0), weights=old)
    assert [note for note in again.notes if "it may know labels that judge here" in note]
    elsewhere = trained(tmp_path / "c", quick, samples=in_place(11.0, 12.0), weights=old)
    assert not elsewhere.notes + first.notes


# ----------------------------------------------------------------------------------------- defaults


def test_work_is_what_the_layers_multiply() -> None:
    card = a_card(
        architecture="fullunet",
        encoder="plain",
        options={"encoder_depth": 1, "decoder_channels": (8, 8)},
    )
    by_hand = 3 * 16 + 16 * 16 + 16 * 8 * 9 + (8 * 8 * 9 * 2) / 4 + 16 * 8 * 9 + 24 * 16 + 16 * 4
    assert multiply_adds_per_pixel(card) == pytest.approx(by_hand)


def test_what_is_left_to_the_data_follows_from_counts() -> None:
    samples = a_samples()
    labels = samples.counts(TRAIN).sum()
    small = a_card(architecture="fullunet", encoder="plain", options={})
    found = resolve_recipe(Recipe(), samples, small)
    assert (found.chip, found.batch, found.steps) == (
        32,
        32,
        max(200, round(600 * (labels / 30_000) ** 0.5)),
    )
    asked = Recipe(chip=20, batch=3, steps=7)
    # whole strides of 8
    assert resolve_recipe(asked, samples, small) == asked.model_copy(update={"chip": 24})
    coarse = a_card(stride=32, options={})
    assert (
        resolve_recipe(Recipe(), samples, coarse).chip,
        resolve_recipe(Recipe(), samples, coarse).batch,
    ) == (128, 8)
    # looks as far, with a stride of 8
    dilated = a_card(architecture="deeplabv3", stride=8, options={})
    assert resolve_recipe(Recipe(), samples, dilated).chip == 128
    coarsest = a_card(architecture="pan", stride=128, margin=0, options={})
    assert resolve_recipe(Recipe(), samples, coarsest).chip == 256


@pytest.mark.slow
def test_what_looks_at_the_whole_chip_keeps_to_the_chips_it_learnt_from(tmp_path: Path) -> None:
    card = trained(
        tmp_path, Recipe(architecture="pspnet", encoder="resnet18", chip=48, batch=2, steps=2)
    ).card
    assert card.network.support is None
    assert card.network.tile == 48


@pytest.mark.slow
def test_tiles_of_what_sees_patches_end_within_one(tmp_path: Path) -> None:
    """Neighbouring chips begin half a stride apart: their patches have no edges in common, and none
    on a tile line."""
    small = {"decoder_fusion_channels": 8, "decoder_intermediate_channels": (8, 8, 8, 8)}
    network = trained(
        tmp_path, Recipe(architecture="dpt", options=small, chip=64, batch=2, steps=2)
    ).card.network
    assert (network.support, network.stride, network.tile, network.margin) == (None, 32, 80, 24)
    lattice = TileGrid(400, 400, network.tile, network.margin, network.stride, blend=True)
    assert lattice.chip_shape == (128, 128)
    starts = [lattice.tile_at(0, col).chip.col for col in range(5)]
    assert {(later - start) % 32 for start, later in itertools.pairwise(starts)} == {16}
    assert all(
        (lattice.tile_at(0, col).core.col - start) % 16 == 8 for col, start in enumerate(starts)
    )


def test_from_few_labels_several_networks_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = a_samples()
    assert choose_network(samples, Recipe()).options == {"members": 3}
    assert choose_network(samples, Recipe(options={"members": 1})).options == {"members": 1}
    assert choose_network(samples, Recipe(architecture="fullunet")).options == {}
    monkeypatch.setattr("segmentation.training.recipe._FEWER", 10)
    assert choose_network(samples, Recipe()).options == {}


def test_a_decoder_fits_the_encoder_that_an_architecture_brings() -> None:
    samples = a_samples()
    brought = choose_network(samples, Recipe(architecture="dpt"))
    assert brought.options["decoder_fusion_channels"] == 64
    asked = choose_network(
        samples, Recipe(architecture="dpt", options={"decoder_fusion_channels": 32})
    )
    assert asked.options == {**brought.options, "decoder_fusion_channels": 32}
    assert (
        choose_network(
            samples, Recipe(architecture="dpt", encoder="tu-vit_small_patch16_224")
        ).options
        == {}
    )
    assert choose_network(samples, Recipe(architecture="unet")).options == {}


def test_a_missing_gpu_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch finds no GPU"):
        trained(tmp_path, SMALL.model_copy(update={"device": "cuda"}))
