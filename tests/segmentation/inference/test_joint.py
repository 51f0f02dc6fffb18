"""A network and trees beside it: what numpy makes of both, and a file that tells of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from segmentation.errors import InputError
from segmentation.forests import forest
from segmentation.inference.joint import LEAST
from segmentation.inference.network import Network
from segmentation.interchange.export_onnx import export
from segmentation.models.bundle import Bundle, load, save, write
from segmentation.models.stac_mlm import card_of, item_of
from tests.segmentation.joint_models import LEGEND, LOOKS, a_joint_bundle, small_forest
from tests.segmentation.labelled import BANDS
from tests.segmentation.small_networks import scene_of, shares_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_joint_bundle(tmp_path_factory.mktemp("joint") / "b")


def probabilities_by_hand(bundle: Bundle, chip: xr.Dataset) -> npt.NDArray[np.float64]:
    """`(class, y, x)`: what the two models say alone, joined by numpy in double precision."""
    network = shares_of(bundle, chip)
    trees = small_forest()
    alone = write(bundle.folder.with_name("alone"), trees.card, trees.content)
    shares = forest.probabilities(forest.load_trees(alone), alone.card, chip)
    assert np.mean(network.argmax(0) != shares.argmax(0)) > 0.1, "they agree anyway"
    product = np.sqrt(np.maximum(network.astype(float), LEAST) * np.maximum(shares, LEAST))
    return product / product.sum(0)


def test_both_say_what_numpy_makes_of_their_probabilities(bundle: Bundle) -> None:
    chip = scene_of(96, 120).assign_coords(band=list(BANDS))
    network = Network(bundle=str(bundle.folder), device="cpu").with_measures(["probabilities"])
    found, expected, valid = (
        network(chip),
        probabilities_by_hand(bundle, chip),
        chip["valid"].values,
    )
    assert found.confidence is not None
    shown = found.measures["probabilities"]
    assert np.abs(shown - 100 * expected)[:, valid].max() < 0.501
    assert np.abs(found.confidence - 100 * expected.max(0))[valid].max() < 0.501
    ordered = np.sort(expected, axis=0)
    clear = valid & (ordered[-1] - ordered[-2] > 1e-4)
    assert np.array_equal(found.labels[clear], np.array(LEGEND.values)[expected.argmax(0)][clear])
    assert set(np.unique(found.labels)) == {0, *LEGEND.values}


def test_trees_see_all_they_look_at_whatever_margin_is_asked(bundle: Bundle) -> None:
    where = str(bundle.folder)
    assert bundle.card.network.margin < LOOKS
    assert Network(bundle=where).footprint.margin == 16  # on its stride of 8
    assert Network(bundle=where, margin=0).footprint.margin == 16
    assert Network(bundle=where, margin=40).footprint.margin == 40


def test_the_card_tells_of_both_and_is_read_back(bundle: Bundle) -> None:
    assert load(bundle.folder).card == bundle.card == card_of(item_of(bundle.card))
    assert "trees in landweave:model.forest" in str(item_of(bundle.card))
    assert bundle.trees() == small_forest().content
    alone = bundle.card.network.model_copy(update={"forest": None})
    assert "forest" not in alone.model_dump(), "cards of one model say nothing of a second"
    assert "forest.skops" not in bundle.weights()


def test_a_card_that_tells_of_trees_which_are_not_there_is_a_mistake(
    bundle: Bundle, tmp_path: Path
) -> None:
    poor = save(tmp_path / "poor", bundle.card, bundle.weights())
    with pytest.raises(InputError, match=r"has no forest.skops, of which its card tells"):
        Network(bundle=str(poor.folder), device="cpu").fit(None)


def test_onnx_has_no_place_for_trees(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a forest beside its network"):
        export(bundle, tmp_path / "both.onnx")
    assert not (tmp_path / "both.onnx").exists()
