"""What a detector says of a chip, and the objects that follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segmentation.detection.find import STEPS, Boxes, instances, look
from segmentation.detection.network import build, restore
from segmentation.errors import InputError
from segmentation.models.bundle import load, save
from segmentation.models.stac_mlm import card_of as read_item
from segmentation.models.stac_mlm import item_of
from tests.chance import chances
from tests.segmentation.detection.drawn import card_of


def boxes_of(*boxes: tuple[float, ...], masks: np.ndarray | None = None) -> Boxes:
    n = len(boxes)
    masks = np.ones((n, 28, 28)) if masks is None else masks
    return Boxes(np.array(boxes), masks, np.full(n, 0.9), np.ones(n, int))


def test_a_full_mask_is_the_pixels_whose_middle_is_in_the_box() -> None:
    (found,) = instances(boxes_of((2.4, 3.6, 10.4, 8.4)), (20, 20), 0)
    assert (found.row, found.col, found.pixels.shape) == (3, 2, (6, 9))
    drawn = np.zeros((6, 9), bool)
    drawn[1:5, 0:8] = True
    np.testing.assert_array_equal(found.pixels, drawn)
    assert found.centre == (6 * STEPS, round(6.4 * STEPS))
    assert found.score == 9000


def test_masks_lie_where_torchvision_pastes_them() -> None:
    """It rounds boxes to whole pixels; on such boxes it puts the same pixels, but for edges."""
    (random,) = chances(1)
    corners = random.integers(0, 30, (40, 2))
    boxes = np.column_stack([corners, corners + random.integers(6, 30, (40, 2))]).astype(float)
    masks = np.kron(random.random((40, 4, 4)) > 0.4, np.ones((7, 7)))
    pasted = paste_masks_in_image(
        torch.from_numpy(masks)[:, None].float(), torch.from_numpy(boxes).float(), (64, 64)
    )
    same = []
    for one, other in zip(
        instances(boxes_of(*boxes, masks=masks), (64, 64), 0), pasted, strict=True
    ):
        pixels = np.zeros((64, 64), bool)
        height, width = one.pixels.shape
        pixels[one.row : one.row + height, one.col : one.col + width] = one.pixels
        same.append((pixels == (other[0].numpy() >= 0.5)).mean())
    assert np.mean(same) > 0.985


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_any_number_of_bands_and_the_same_bits_beside_any_other_work(bands: int) -> None:
    card = card_of(bands, anchors=(8.0, 16.0), stem=1)
    torch.manual_seed(0)
    model = build(card).eval()
    (random,) = chances(1)
    chip = random.normal(size=(bands, 64, 64)).astype(np.float32)
    first = look(model, chip)
    look(model, chip[:, ::-1])
    again = look(model, chip)
    assert len(first.scores) > 0
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_bundle_of_a_detector_comes_back(tmp_path: Path) -> None:
    card = card_of()
    torch.manual_seed(0)
    model = build(card).eval()
    bundle = save(tmp_path / "bundle", card, model.state_dict())
    again = load(tmp_path / "bundle")
    assert again.digest == bundle.digest
    assert read_item(item_of(again.card)) == again.card
    assert item_of(card)["properties"]["mlm:tasks"] == ["instance-segmentation"]
    chip = np.zeros((2, 128, 128), np.float32)
    for one, other in zip(look(model, chip), look(restore(again), chip), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match="holds a detector of objects, not a network"):
        _ = again.card.network


def test_weights_of_another_detector_are_refused(tmp_path: Path) -> None:
    other = build(card_of(width=24)).state_dict()
    with pytest.raises(InputError, match="do not fit mask-rcnn on resnet18"):
        restore(save(tmp_path / "bundle", card_of(), other))
