from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.errors import InputError
from segmentation.forests import forest, pixel_features, skops_file
from segmentation.forests.estimators import FORESTS, UnsafeFileError
from segmentation.forests.forest import Forest
from segmentation.forests.skops_file import dump, load, load_forest
from segmentation.models.bundle import Bundle, write
from segmentation.models.forest_model import ForestModel
from segmentation.segmenter import predict
from segmentation.training import train_forest as growing
from segmentation.training.recipe import ForestRecipe
from segmentation.training.samples import TEST, TRAIN, VALIDATION, Samples
from segmentation.training.train_forest import TrainedForest, pixels_of, train_forest
from segmentation.training.validation import features_on
from tests.segmentation.labelled import a_samples, draw

KINDS = tuple(FORESTS)
WINDOWS = (3, 5)
FEW = ForestRecipe(trees=6, windows=WINDOWS, features=12)


def silent(stage: str, done: int, total: int) -> None:
    pass


def trained(samples: Samples | None = None, **recipe: Any) -> TrainedForest:
    samples = samples or a_samples(draw(test=True))
    return train_forest(
        samples, FEW.model_copy(update=recipe), name="hedges", licence="CC0-1.0", progress=silent
    )


@pytest.fixture(scope="module", params=KINDS)
def grown(request: pytest.FixtureRequest) -> TrainedForest:
    return trained(architecture=request.param)


@pytest.fixture(scope="module")
def voters() -> TrainedForest:
    return trained()


@pytest.fixture
def bundle(grown: TrainedForest, tmp_path: Path) -> Bundle:
    return write(tmp_path / "hedges", grown.card, grown.content)


def whole_chip(samples: Samples | None = None) -> xr.Dataset:
    samples = samples or a_samples(draw(150, 170, seed=7))
    return samples.chip(samples.pieces[0])


# ----------------------------------------------------------------------------------------- training


def test_it_learns_what_colour_tells(grown: TrainedForest) -> None:
    assert grown.test is not None
    assert grown.validation is not None
    assert grown.test.mean_iou > 0.9
    assert grown.card.metrics["test: mean IoU"] == pytest.approx(grown.test.mean_iou, abs=1e-4)


@pytest.mark.parametrize("side", [5, 16, 33])
def test_training_sees_a_pixel_as_a_whole_scene_shows_it(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = a_samples(draw(50, 70, seed=3))
    wanted, cards = pixel_features.candidates(samples.bands, WINDOWS), samples.band_cards()
    whole = pixel_features.compute(samples.chip(samples.pieces[0]), wanted, cards)
    monkeypatch.setattr(growing, "_BLOCK", side)
    looked = np.full_like(whole, np.nan)
    for piece, rows, cols, _ in growing._labels(samples, (TRAIN, VALIDATION)):
        looked[:, rows, cols] = features_on(samples, piece, rows, cols, wanted, cards)
    assert np.isfinite(looked[0]).mean() > 0.9
    seen = np.isfinite(looked)
    np.testing.assert_allclose(looked[seen], whole[seen], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_equal_seeds_give_equal_bytes(grown: TrainedForest) -> None:
    kind = grown.card.forest.estimator
    again = trained(architecture=kind)
    assert again.content == grown.content
    assert again.card == grown.card
    assert trained(architecture=kind, seed=1).content != grown.content


def test_what_is_tested_on_is_not_learnt_from(voters: TrainedForest) -> None:
    piece = draw(test=True)
    wrong = np.where(
        piece.part == TEST, np.array([0, 3, 0, 5, 0, 1], np.uint8)[piece.labels], piece.labels
    )
    fooled = trained(a_samples(replace(piece, labels=wrong)))
    assert fooled.content == voters.content
    assert fooled.card.model == voters.card.model
    assert (
        fooled.card.metrics["test: overall accuracy"]
        < 0.1
        < voters.card.metrics["test: overall accuracy"]
    )


def test_validation_judges_a_forest_that_had_not_seen_it() -> None:
    """Labels of validation that colour cannot tell are not foreseen, though the last forest knows
    them."""
    piece = draw(64, 64)
    rng = np.random.default_rng(1)
    drawn = np.where(
        piece.part == VALIDATION,
        rng.choice(np.array([1, 3, 5], np.uint8), piece.labels.shape),
        piece.labels,
    )
    found = trained(a_samples(replace(piece, labels=np.where(piece.labels > 0, drawn, 0))))
    assert found.validation is not None
    assert found.validation.overall_accuracy < 0.45
    assert found.card.forest.temperature > 1, "it was far too sure"


def test_windows_are_those_that_validate_best() -> None:
    """Two classes of one mean and unlike texture: a pixel alone does not tell, and wide windows
    tell best."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, (3, 6)).repeat(32, 0).repeat(32, 1)
    pixels = (1000 + rng.normal(0, np.where(codes == 1, 300, 150), (3, *codes.shape))).astype(
        np.uint16
    )
    part = np.full(codes.shape, TRAIN, np.uint8)
    part[:, 128:] = VALIDATION
    piece = replace(
        draw(*codes.shape), pixels=pixels, labels=np.array([1, 3], np.uint8)[codes], part=part,
        valid=np.ones(codes.shape, bool),
    )  # fmt: skip
    found = trained(a_samples(piece), windows=None, features=30)
    assert pixel_features.margin_of(pixel_features.parse_features(found.card.forest.features)) == 13
    assert found.validation is not None
    assert found.validation.overall_accuracy > 0.8


def test_a_class_that_only_validates_is_there_in_the_end() -> None:
    piece = draw()
    part = np.where((piece.part == TRAIN) & (piece.labels == 5), np.uint8(0), piece.part)
    found = trained(a_samples(replace(piece, part=part)))
    assert found.validation is not None
    assert found.validation.classes[2].recall == 0
    assert set(load(found.content, found.card).classes_) == {0, 1, 2}


def test_one_class_is_no_training() -> None:
    piece = draw()
    part = np.where((piece.part == TRAIN) & (piece.labels != 5), np.uint8(0), piece.part)
    with pytest.raises(InputError, match="one class only"):
        trained(a_samples(replace(piece, part=part)))


def test_without_validation_it_says_so() -> None:
    piece = draw()
    found = trained(
        a_samples(replace(piece, part=np.where(piece.part == TRAIN, piece.part, 0))), windows=None
    )
    assert found.validation is None
    assert found.card.forest.temperature == 1
    assert any("nobody knows" in note for note in found.notes)


@pytest.mark.parametrize("per_class", [10, 10_000])
def test_drawn_pixels_stand_for_all(per_class: int) -> None:
    samples = a_samples(draw(40, 300), draw(30, 20, seed=3))
    recipe = ForestRecipe(per_class=per_class, rarity=0)
    cards = samples.band_cards()
    tried = pixel_features.candidates(samples.bands, (3,))
    drawn = pixels_of(samples, (TRAIN,), tried, cards, recipe)
    counts = samples.counts(TRAIN)
    assert np.array_equal(np.bincount(drawn.classes), np.minimum(counts, per_class))
    assert np.allclose(
        np.bincount(drawn.classes, drawn.weights) / len(drawn.classes), counts / counts.sum()
    )
    known = {
        (samples.legend.values[index], seen.tobytes())
        for piece in samples.pieces
        for chip in [pixel_features.compute(samples.chip(piece), tried, cards)]
        for index in range(3)
        for seen in chip[
            :, (piece.labels == samples.legend.values[index]) & (piece.part == TRAIN)
        ].T.copy()
    }
    for index, seen in zip(drawn.classes, drawn.features, strict=True):
        assert (samples.legend.values[index], seen.copy().tobytes()) in known


@given(st.integers(0, 5000), st.integers(1, 300), st.integers(0, 9))
def test_draws_are_spread_out(count: int, most: int, seed: int) -> None:
    drawn = growing._draw_evenly(count, most, np.random.default_rng(seed))
    assert np.all(np.diff(drawn) > 0)
    assert len(drawn) <= most
    if count:
        assert drawn[0] >= 0
        assert drawn[-1] < count
        assert count > most or len(drawn) == count
        # Never more than two stretches without one.
        assert np.diff(np.concatenate([[-1], drawn, [count]])).max() <= 2 * max(1, count / most) + 1


# ---------------------------------------------------------------------------------------- segmenter


def test_it_keeps_a_segmenter_s_word(bundle: Bundle) -> None:
    segmenter = Forest(bundle=str(bundle.folder)).fit(None)
    chip = whole_chip()
    piece = a_samples(draw(150, 170, seed=7)).pieces[0]
    (said,) = predict(segmenter, [chip])
    labelled = piece.labels > 0
    assert np.mean(said.labels[labelled] == piece.labels[labelled]) > 0.95
    chip["valid"].values[:] = False
    (nothing,) = predict(segmenter, [chip])
    assert not nothing.labels.any()


def test_tiled_equals_whole_to_the_bit(bundle: Bundle) -> None:
    segmenter = Forest(bundle=str(bundle.folder)).with_measures(("probabilities",)).fit(None)
    chip = whole_chip()
    whole = segmenter(chip)
    margin = segmenter.footprint.margin
    assert margin == max(WINDOWS) // 2
    height, width = chip["valid"].shape
    for row, col in product(range(0, height, 37), range(0, width, 53)):
        above, before = max(0, row - margin), max(0, col - margin)
        said = segmenter(
            chip.isel(y=slice(above, row + 37 + margin), x=slice(before, col + 53 + margin))
        )
        here = slice(row, row + 37), slice(col, col + 53)
        bottom, right = min(row + 37, height) - above, min(col + 53, width) - before
        there = slice(row - above, bottom), slice(col - before, right)
        valid = chip["valid"].values[here]
        assert np.array_equal(said.labels[there], whole.labels[here])
        assert said.confidence is not None
        assert whole.confidence is not None
        assert np.array_equal(said.confidence[there][valid], whole.confidence[here][valid])
        for one, other in zip(
            said.measures["probabilities"], whole.measures["probabilities"], strict=True
        ):
            assert np.array_equal(one[there][valid], other[here][valid])


def test_threads_change_nothing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    trees, chip = load_forest(bundle), whole_chip()
    made = []
    for count in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        forest._pool.cache_clear()
        assert forest.threads() == int(count)
        made.append(forest.probabilities(trees, bundle.card, chip))
    forest._pool.cache_clear()
    assert made[0].tobytes() == made[1].tobytes()


def test_its_votes_are_scikit_learn_s(voters: TrainedForest) -> None:
    trees, card, chip = load(voters.content, voters.card), voters.card, whole_chip()
    card = card.model_copy(update={"model": card.forest.model_copy(update={"temperature": 1.0})})
    seen = pixel_features.compute(
        chip, pixel_features.parse_features(card.forest.features), card.bands
    )
    valid = chip["valid"].values
    expected = trees.predict_proba(seen[:, valid].T)
    assert np.allclose(forest.probabilities(trees, card, chip)[:, valid].T, expected, atol=1e-7)


def test_temperature_changes_how_sure_it_is_and_no_label(
    voters: TrainedForest, tmp_path: Path
) -> None:
    said = []
    for number, temperature in enumerate((0.5, 1.0, 2.0)):
        model = voters.card.forest.model_copy(update={"temperature": temperature})
        written = write(
            tmp_path / str(number), voters.card.model_copy(update={"model": model}), voters.content
        )
        said.append(Forest(bundle=str(written.folder))(whole_chip()))
    assert np.array_equal(said[0].labels, said[1].labels)
    assert np.array_equal(said[2].labels, said[1].labels)
    sure = [float(np.mean(one.confidence)) for one in said if one.confidence is not None]
    assert sure[0] > sure[1] > sure[2]


def test_measures_are_what_they_are_called(voters: TrainedForest, tmp_path: Path) -> None:
    written = write(tmp_path / "hedges", voters.card, voters.content)
    chip = whole_chip()
    said = Forest(bundle=str(written.folder)).with_measures(("probabilities", "entropy", "margin"))(
        chip
    )
    valid = chip["valid"].values
    shares = forest.probabilities(load_forest(written), written.card, chip)[:, valid].astype(float)
    ordered = np.sort(shares, axis=0)
    logs = np.log(np.where(shares > 0, shares, 1))
    assert np.allclose(said.measures["probabilities"][:, valid], 100 * shares, atol=0.51)
    assert np.allclose(
        said.measures["margin"][0, valid], 100 * (ordered[-1] - ordered[-2]), atol=0.51
    )
    assert np.allclose(
        said.measures["entropy"][0, valid], -100 * (shares * logs).sum(0) / np.log(3), atol=0.51
    )
    assert said.confidence is not None
    assert np.array_equal(said.confidence[valid], said.measures["probabilities"][:, valid].max(0))


# ------------------------------------------------------------------------------------------- safety


def rewritten(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """A skops file with other entries."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    change(entries)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, entry in entries.items():
            file.writestr(name, entry)
    return made.getvalue()


def refused(card: Any, content: bytes, folder: Path) -> str:
    """The one line that a bundle with this content is refused with, before any work."""
    written = write(folder / "bad", card, content)
    with pytest.raises(InputError) as caught:
        Forest(bundle=str(written.folder)).fit(None)
    line = str(caught.value)
    assert "\n" not in line
    assert str(written.weights_file) in line
    return line


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_refused_and_runs_nothing(voters: TrainedForest, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    bomb = pickle.dumps(Trap(mark))
    assert "BadZipFile" in refused(voters.card, bomb, tmp_path)
    # Nor one that hides where arrays are kept: numpy would unpickle an array of objects.
    array = io.BytesIO()
    np.save(array, np.array([Trap(mark)], dtype=object), allow_pickle=True)

    def hide(entries: dict[str, bytes]) -> None:
        for name in entries:
            if name.endswith(".npy"):
                entries[name] = array.getvalue()

    assert "allow_pickle" in refused(voters.card, rewritten(voters.content, hide), tmp_path)
    assert not mark.exists()
    pickle.loads(bomb)
    assert mark.exists(), "the trap works"


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("posix", "system"), ("subprocess", "Popen"), ("builtins", "eval"),
    ("builtins", "exec"),
     ("sklearn.utils._testing", "run_module"), ("numpy.testing", "rundocs"), ("joblib", "load"),
     ("pickle", "loads")],
)  # fmt: skip
@pytest.mark.parametrize(
    "loader", ["FunctionNode", "TypeNode", "ObjectNode", "MethodNode", "ReduceNode", "TreeNode"]
)
def test_no_other_type_is_let_in(
    voters: TrainedForest, tmp_path: Path, module: str, name: str, loader: str
) -> None:
    mark = tmp_path / "it ran"
    argument = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode",
    "content": f'"touch {mark}"',
                "is_json": True, "__id__": 2}  # fmt: skip
    arguments = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode",
    "content": [argument],
                 "__id__": 3}  # fmt: skip
    node = {
        "__class__": name, "__module__": module, "__loader__": loader, "__id__": 1,
        "content": {"module_path": module, "function": name, "func": name,
        "obj": argument} | arguments,
        "__reduce__": {"args": arguments}, "protocol": 0,
    }  # fmt: skip

    def change(entries: dict[str, bytes]) -> None:
        schema = json.loads(entries["schema.json"])
        schema["content"]["content"]["estimators_"] = node
        entries["schema.json"] = json.dumps(schema).encode()

    refused(voters.card, rewritten(voters.content, change), tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("left_child", 10**6, "a step of a tree leads astray"),
        ("right_child", 0, "a step of a tree leads astray"),
        ("left_child", -7, "a step of a tree leads astray"),
        ("feature", 12, "a feature that is not there"),
        ("feature", -5, "a feature that is not there"),
    ],
)
def test_a_tree_that_leads_out_of_memory_is_refused(
    voters: TrainedForest, tmp_path: Path, field: str, value: int, told: str
) -> None:
    trees = load(voters.content, voters.card)
    tree = trees.estimators_[2].tree_
    state = tree.__getstate__()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    assert told in refused(voters.card, dump(trees), tmp_path)


@pytest.fixture(scope="module")
def boosted() -> TrainedForest:
    return trained(architecture="gradient-boosting")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("left", 10**6, "a step of a tree leads astray"),
        ("right", 0, "a step of a tree leads astray"),
        ("feature_idx", 12, "a feature that is not there"),
        ("is_categorical", 1, "it sees categories"),
    ],
)
def test_a_boosted_tree_that_leads_out_of_memory_is_refused(
    boosted: TrainedForest, tmp_path: Path, field: str, value: int, told: str
) -> None:
    trees = load(boosted.content, boosted.card)
    nodes = trees._predictors[1][1].nodes
    nodes[field][0] = value
    assert told in refused(boosted.card, dump(trees), tmp_path)


def test_another_estimator_of_scikit_learn_is_refused(
    voters: TrainedForest, tmp_path: Path
) -> None:
    from sklearn.linear_model import LogisticRegression

    other = LogisticRegression().fit(np.eye(3), [0, 1, 2])
    assert "something else" in refused(voters.card, dump(other), tmp_path)


def test_types_that_skops_lets_in_and_no_forest_needs_are_refused(
    voters: TrainedForest, tmp_path: Path
) -> None:
    import scipy.special
    import skops.io

    voting = load(voters.content, voters.card)
    voting.also = scipy.special.expit
    content = dump(voting)
    assert set(skops.io.get_untrusted_types(data=content)) <= set(skops_file._TRUSTED)
    assert "it holds types of scipy" in refused(voters.card, content, tmp_path)


def test_a_file_for_other_features_or_classes_is_refused(
    voters: TrainedForest, tmp_path: Path
) -> None:
    model = voters.card.forest
    fewer = voters.card.model_copy(
        update={"model": model.model_copy(update={"features": model.features[:-1]})}
    )
    assert "other features" in refused(fewer, voters.content, tmp_path / "features")
    poorer = voters.card.model_copy(update={"legend": voters.card.legend.subset(1, 3)})
    assert "classes" in refused(poorer, voters.content, tmp_path / "classes")


def test_a_file_that_unpacks_to_more_than_any_forest_is_not_unpacked(
    voters: TrainedForest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skops_file, "_LARGEST", 10_000)
    assert "too large" in refused(voters.card, voters.content, tmp_path)


@settings(max_examples=30)
@given(st.data())
def test_a_broken_file_is_refused_or_votes(voters: TrainedForest, data: st.DataObject) -> None:
    """Whatever bytes are changed within the entries, the answer is a sentence or trees that can be
    asked."""
    with zipfile.ZipFile(io.BytesIO(voters.content)) as file:
        lengths = {entry.filename: entry.file_size for entry in file.infolist()}
    name = data.draw(st.sampled_from(sorted(lengths)))
    place = data.draw(st.integers(0, lengths[name] - 1))
    byte = data.draw(st.binary(min_size=1, max_size=8))

    def change(entries: dict[str, bytes]) -> None:
        entries[name] = entries[name][:place] + byte + entries[name][place + len(byte) :]

    try:
        trees = load(rewritten(voters.content, change), voters.card)
    except UnsafeFileError:
        return
    forest.probabilities(trees, voters.card, whole_chip(a_samples(draw(16, 16))))


def test_another_scikit_learn_s_forest_is_refused(voters: TrainedForest, tmp_path: Path) -> None:
    old = voters.card.forest.model_copy(update={"sklearn": "1.2.3"})
    written = write(tmp_path / "old", voters.card.model_copy(update={"model": old}), voters.content)
    with pytest.raises(
        InputError, match=rf"grown by scikit-learn 1\.2\.3, and {sklearn.__version__} is installed"
    ):
        Forest(bundle=str(written.folder)).fit(None)


def test_a_card_of_unknown_trees_is_refused(voters: TrainedForest, tmp_path: Path) -> None:
    for number, (update, told) in enumerate(
        [
            ({"estimator": "oracle"}, "holds a oracle"),
            ({"features": ("the future",) * 12}, "sees the future"),
        ]
    ):
        model = ForestModel(**{**voters.card.forest.model_dump(), **update})
        written = write(
            tmp_path / str(number), voters.card.model_copy(update={"model": model}), voters.content
        )
        with pytest.raises(InputError, match=told):
            Forest(bundle=str(written.folder)).fit(None)
