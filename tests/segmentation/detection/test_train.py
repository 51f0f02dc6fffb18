"""What a detector learns from, and that it learns the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segmentation.detection import train as training
from segmentation.detection.recipe import DetectorRecipe, choose_model, count_steps
from segmentation.detection.start import COCO, starting_weights
from segmentation.detection.targets import ObjectSamples, draw_chip, target_of
from segmentation.detection.train import train_detector
from segmentation.errors import InputError
from segmentation.legend import LandClass, Legend
from segmentation.models.bundle import save
from segmentation.training.samples import TRAIN, VALIDATION, Labelled, Samples
from tests.chance import chances
from tests.segmentation.detection.drawn import BANDS, card_of

QUICK = DetectorRecipe(steps=4, batch=1, width=8)


def drawn_objects(side: int = 160, seed: int = 0) -> ObjectSamples:
    """Bright discs and squares that touch, of two classes; the lower quarter is for validation."""
    random = np.random.default_rng(seed)
    ids, rows, cols = np.zeros((side, side), np.int32), *np.indices((side, side))
    for number, (row, col) in enumerate(
        ((r, c) for r in range(12, side, 20) for c in range(12, side, 20)), 1
    ):
        disc = (rows - row) ** 2 + (cols - col) ** 2 <= 81
        square = (abs(rows - row) < 10) & (abs(cols - col) < 10)
        ids[disc if number % 2 else square] = number
    tone = np.append(20, random.uniform(80, 200, ids.max()))
    pixels = np.stack([tone[ids]] * 2) + random.normal(0, 4, (2, side, side))
    part = np.where(rows < side * 3 // 4, TRAIN, VALIDATION).astype(np.uint8)
    piece = Labelled(
        pixels.clip(1, 255).astype(np.uint8), np.ones((side, side), bool),
        np.where(ids > 0, 2, 1).astype(np.uint8), part, (1.0, 1.0), (0.0, 0.0),
    )  # fmt: skip
    names = ("Background", "Round", "Square")
    legend = Legend(
        classes=tuple(
            LandClass(value=n, name=name, colour=f"#{n}0{n}0{n}0")
            for n, name in enumerate(names, 1)
        )
    )
    channels = np.append(0, 2 - np.arange(1, ids.max() + 1) % 2)
    samples = Samples((piece,), BANDS, ("dn", "dn"), "uint8", legend, 10.0, {"scenes": ["drawn"]})
    return ObjectSamples(samples, (ids,), (channels,), legend)


def trained(samples: ObjectSamples, folder: Path, recipe: DetectorRecipe = QUICK) -> Any:
    folder.mkdir(exist_ok=True)
    return train_detector(
        samples, recipe, name="drawn", licence="not stated", scratch=folder,
        progress=lambda *_: None,
    )  # fmt: skip


def test_a_chip_shows_objects_with_their_boxes_and_nothing_of_other_parts() -> None:
    samples, card = drawn_objects(), card_of()
    bands = tuple(band.model_copy(update={"mean": -1}) for band in card.bands)  # 0 is no pixel's
    card = card.model_copy(update={"bands": bands})
    (random,) = chances(1)
    for _ in range(5):
        pixels, target = draw_chip(samples, card, 128, 0.0, random)
        assert pixels.shape == (2, 128, 128)
        assert len(target.boxes) == len(target.masks) == len(target.channels) > 5
        for (left, top, right, bottom), mask in zip(target.boxes, target.masks, strict=True):
            rows, cols = np.nonzero(mask)
            assert (left, top) == (cols.min(), rows.min())
            assert (right, bottom) == (cols.max() + 1, rows.max() + 1)
        assert not (target.masks.sum(0) > 1).any()
        assert set(target.channels.tolist()) == {1, 2}
        hidden = (pixels == 0).all(0)
        assert not target.masks[:, hidden].any()


def test_what_is_too_small_in_a_chip_is_no_object() -> None:
    ids = np.zeros((8, 8), np.int32)
    ids[0, :3], ids[4:6, 4:6] = 1, 2
    target = target_of(ids, np.array([0, 1, 1]))
    assert target.boxes.tolist() == [[4, 4, 6, 6]]
    assert len(target_of(np.zeros((8, 8), np.int32), np.array([0])).boxes) == 0


def test_boxes_and_the_margin_follow_from_the_objects() -> None:
    samples = drawn_objects()
    model, note = choose_model(samples, QUICK)
    assert samples.sizes().max() == 19
    assert (model.margin, model.stem, note) == (32, 2, "")
    assert (model.tile + 2 * model.margin) % 32 == 0
    assert 8 <= model.anchors[0] <= 19
    long = np.zeros((160, 160), np.int32)
    long[:, :] = 1
    whole = ObjectSamples(samples.samples, (long,), (np.array([0, 1]),), samples.legend)
    assert choose_model(whole, QUICK)[0].margin == 160
    assert count_steps(DetectorRecipe(budget=1000), 500, 1e9) == 1500
    assert count_steps(DetectorRecipe(budget=1), 500, 1e9) == 333


@pytest.mark.slow
def test_a_killed_training_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_SAVED", 2)
    samples = drawn_objects()
    whole = trained(samples, tmp_path / "one")
    step = training._Run._step

    def fail_at_three(self: Any, network: Any, optimizer: Any, at: int) -> float:
        if at == 3:
            raise KeyboardInterrupt
        return step(self, network, optimizer, at)

    monkeypatch.setattr(training._Run, "_step", fail_at_three)
    with pytest.raises(KeyboardInterrupt):
        trained(samples, tmp_path / "other")
    monkeypatch.setattr(training._Run, "_step", step)
    again = trained(samples, tmp_path / "other")
    for name, tensor in whole.state.items():
        assert torch.equal(tensor, again.state[name]), name
    assert whole.looks == again.looks
    assert whole.card == again.card
    assert whole.card.training["objects"] > 20
    assert whole.validation.mean.truth > 5
    assert any("average precision" in note for note in whole.notes)


def test_nothing_in_the_training_part_is_one_line(tmp_path: Path) -> None:
    samples = drawn_objects()
    empty = ObjectSamples(
        samples.samples, (np.zeros((160, 160), np.int32),), samples.channels, samples.legend
    )
    with pytest.raises(InputError, match="no object lies in the training part"):
        trained(empty, tmp_path)


def test_it_goes_on_from_a_bundle_as_far_as_that_fits(tmp_path: Path) -> None:
    from segmentation.detection.network import build

    card = card_of()
    torch.manual_seed(1)
    bundle = save(tmp_path / "b", card, build(card).state_dict())
    network = build(card)
    assert starting_weights(network, card, bundle) == []
    known = bundle.weights()
    assert all(torch.equal(one, known[name]) for name, one in network.state_dict().items())
    with pytest.raises(InputError, match="looks at red, nir, and the scene has red, nir, b2"):
        starting_weights(build(card_of(3)), card_of(3), bundle)


def test_weights_of_coco_are_taken_from_the_cache_and_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    from segmentation.detection.network import build

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    shape = {
        "encoder": "resnet50",
        "width": 256,
        "norm": "frozen",
        "anchors": (8.0, 16, 32, 64, 128),
    }
    card = card_of(**shape)
    network = build(card)
    with pytest.raises(InputError, match="does not have it; copy it there"):
        starting_weights(network, card, "coco")
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(theirs.state_dict(), tmp_path / "hub" / "checkpoints" / COCO)
    (note,) = starting_weights(network, card, "coco")
    assert note.startswith("of COCO's weights ")
    own, known = network.state_dict(), theirs.state_dict()
    assert torch.equal(
        own["backbone.body.layer3.0.conv2.weight"], known["backbone.body.layer3.0.conv2.weight"]
    )
    assert torch.equal(own["roi_heads.box_head.fc6.weight"], known["roi_heads.box_head.fc6.weight"])
    first = "backbone.body.conv1.weight"
    torch.testing.assert_close(own[first].sum(1), known[first].sum(1))
    new = [name for name in own if name not in known or own[name].shape != known[name].shape]
    assert {name.rpartition(".")[0] for name in new} < {
        "rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred", "roi_heads.mask_predictor.mask_fcn_logits",
        "backbone.body.conv1", "x",
    }  # fmt: skip


@pytest.mark.slow
def test_objects_that_touch_are_told_apart(tmp_path: Path) -> None:
    samples = drawn_objects(256)
    found = trained(samples, tmp_path, DetectorRecipe(steps=250, width=32))
    assert found.validation.mean.pq > 0.7
    assert {one.name for one in found.card.legend.classes} == {"Background", "Round", "Square"}
