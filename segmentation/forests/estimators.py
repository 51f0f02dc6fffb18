"""Trees that vote: kinds of them, and files that hold them which nobody has to trust.

Opening a file runs no code from it: only the types that scikit-learn's trees are made of are let in, and every step a
tree can take is checked before the first is taken.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation.errors import Mistake
from segmentation.forests.pixel_features import parsed
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card

_LARGEST = 2**30
"""Bytes in a file of trees once it is unpacked."""

Shares = npt.NDArray[np.float32]


def votes(trees: Any, pixels: npt.NDArray[np.float32], classes: int, temperature: float = 1.0) -> Shares:
    """`(n, class) float32`: what trees say of pixels `(n, feature)`; a class they never met gets 0.

    `temperature` is what the logarithms of the shares are divided by.
    """
    shares = np.zeros((len(pixels), classes))
    shares[:, trees.classes_] = trees.predict_proba(np.ascontiguousarray(pixels))
    if temperature != 1:
        shares **= 1 / temperature
        shares /= shares.sum(1, keepdims=True)
    return shares.astype(np.float32)


# ------------------------------------------------------------------------------------------------------- kinds of trees


class Forests(NamedTuple):
    """One way to grow trees."""

    what: str
    """What it is, in a few words."""
    trees: int
    """How many there are by default; of boosting, rounds."""
    make: Callable[[int, int], Any]
    """An estimator of scikit-learn, not fitted yet, with so many trees, grown from a seed."""
    check: Callable[[Any, int, int], None]
    """Raises `Unsafe` unless an estimator that was read has sound trees for so many features and classes."""


class Unsafe(ValueError):
    """What is wrong with a file of trees."""


def _random_forest(trees: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, min_samples_leaf=3, max_features=0.3, random_state=seed)


def _extra_trees(trees: int, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(trees, min_samples_leaf=3, max_features=0.3, random_state=seed)


def _gradient_boosting(trees: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=trees, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=30, l2_regularization=5.0,
        max_features=0.3, early_stopping=False, random_state=seed,
    )  # fmt: skip


def _check_voters(estimator: Any, features: int, classes: int) -> None:
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier
    from sklearn.tree._tree import Tree

    _demand(type(estimator) in (RandomForestClassifier, ExtraTreesClassifier), "it holds something else")
    voters = estimator.estimators_
    _demand(isinstance(voters, list) and len(voters) > 0, "it has no trees")
    known = _check_classes(estimator, features, classes)
    for voter in voters:
        _demand(type(voter) in (DecisionTreeClassifier, ExtraTreeClassifier), "one of its trees is none")
        _demand(type(voter.tree_) is Tree, "one of its trees is none")
        _demand(voter.n_outputs_ == 1 and voter.n_features_in_ == features, "a tree sees other features")
        state = voter.tree_.__getstate__()
        nodes, values = state["nodes"], state["values"]
        _demand(voter.tree_.n_features == features, "a tree sees other features")
        _demand(values.shape == (len(nodes), 1, known) and bool(np.isfinite(values).all()), "its votes are none")
        leaf = nodes["left_child"] == -1
        _check_steps(nodes["left_child"], nodes["right_child"], nodes["feature"], leaf, features)


def _check_boosted(estimator: Any, features: int, classes: int) -> None:
    from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    _demand(type(estimator) is HistGradientBoostingClassifier, "it holds something else")
    known = _check_classes(estimator, features, classes)
    columns = 1 if known == 2 else known
    _demand(type(estimator._loss) is (HalfBinomialLoss if known == 2 else HalfMultinomialLoss), "its loss is none")
    _demand(estimator._preprocessor is None and estimator.is_categorical_ is None, "it sees categories")
    _demand(estimator.n_trees_per_iteration_ == columns, "its rounds do not fit its classes")
    _demand(np.shape(estimator._baseline_prediction) == (1, columns), "its baseline is none")
    for trees in estimator._predictors:
        _demand(isinstance(trees, list) and len(trees) == columns, "its rounds do not fit its classes")
        for tree in trees:
            _demand(type(tree) is TreePredictor, "one of its trees is none")
            nodes = tree.nodes
            _demand(nodes.dtype == PREDICTOR_RECORD_DTYPE and nodes.ndim == 1, "the nodes of a tree are none")
            _demand(not nodes["is_categorical"].any(), "it sees categories")
            leaf = nodes["is_leaf"].astype(bool)
            left, right, which = (nodes[name].astype(np.int64) for name in ("left", "right", "feature_idx"))
            _check_steps(left, right, which, leaf, features)


def _check_classes(estimator: Any, features: int, classes: int) -> int:
    """How many classes its trees tell apart."""
    found = estimator.classes_
    _demand(isinstance(found, np.ndarray) and found.ndim == 1 and found.dtype.kind == "i", "its classes are none")
    _demand(len(set(found.tolist())) == len(found) > 1, "its classes are none")
    _demand(found.min() >= 0 and found.max() < classes, "it says classes that the card does not have")
    _demand(estimator.n_features_in_ == features, "it sees other features than the card says")
    return len(found)


def _check_steps(left: Any, right: Any, feature: Any, leaf: Any, features: int) -> None:
    """Every step leads on, to a node that is there, and looks at a feature that is there: no tree loops or strays.

    scikit-learn follows these numbers in C without a look at them:
    https://github.com/scikit-learn/scikit-learn/pull/34558
    """
    nodes, inner = np.arange(len(left)), ~leaf
    _demand(len(nodes) > 0, "a tree has no node")
    for child in (left[inner], right[inner]):
        _demand(bool(((child > nodes[inner]) & (child < len(nodes))).all()), "a step of a tree leads astray")
    seen = feature[inner]
    _demand(bool(((seen >= 0) & (seen < features)).all()), "a tree looks at a feature that is not there")


def _demand(fact: bool, else_wrong: str) -> None:
    if not fact:
        raise Unsafe(else_wrong)


FORESTS: Mapping[str, Forests] = {
    "random-forest": Forests(
        "trees on samples of the pixels, that vote (Breiman 2001)", 48, _random_forest, _check_voters
    ),
    "extra-trees": Forests("trees with random thresholds, that vote (Geurts 2006)", 48, _extra_trees, _check_voters),
    "gradient-boosting": Forests(
        "small trees, each mending the last (Ke 2017)", 100, _gradient_boosting, _check_boosted
    ),
}
"""All kinds of trees, by the name that a card and `--architecture` have for them."""


# ------------------------------------------------------------------------------------------------------------- on disk

_TRUSTED = ("sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
"""What skops does not let in by itself, because their numbers steer C code; ours are checked before they are used."""

_MODULES = re.compile(r"(sklearn|numpy|builtins|collections)(\.[\w.]+)?")
"""Modules whose types a forest may hold at all; skops would let in some of others."""


def packed(estimator: Any) -> bytes:
    """A fitted estimator as the bytes of a skops file; equal ones have equal bytes."""
    import skops.io

    # skops names things by where they lay in memory: here by the order in which they come.
    raw = zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator)))
    numbers: dict[str, str] = {}
    schema = re.sub(
        r'("__id__": |"file": ")(\d+)',
        lambda found: found[1] + numbers.setdefault(found[2], str(len(numbers))),
        raw.read("schema.json").decode(),
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("schema.json"), schema, zipfile.ZIP_DEFLATED)
        for name in sorted(set(raw.namelist()) - {"schema.json"}, key=lambda name: int(numbers[Path(name).stem])):
            stem, suffix = Path(name).stem, Path(name).suffix
            file.writestr(zipfile.ZipInfo(numbers[stem] + suffix), raw.read(name), zipfile.ZIP_DEFLATED)
    return made.getvalue()


def unpacked(content: bytes, card: Card) -> Any:
    """The estimator in the bytes of a skops file; `Unsafe` where it is not what the card says, whoever wrote it."""
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            _demand(sum(entry.file_size for entry in file.infolist()) <= _LARGEST, "it is too large")
            strange = sorted(
                name for name in _modules(json.loads(file.read("schema.json"))) if not _MODULES.fullmatch(name)
            )
        _demand(not strange, f"it holds types of {', '.join(strange)}")
        strange = sorted(set(skops.io.get_untrusted_types(data=content)) - set(_TRUSTED))
        _demand(not strange, f"it holds {', '.join(strange)}")
        estimator = skops.io.loads(content, trusted=list(_TRUSTED))
        FORESTS[card.forest.estimator].check(estimator, len(card.forest.features), len(card.legend))
        # Nothing that votes at all can now stray; what does not fit together is seen from one vote.
        said = votes(estimator, np.zeros((1, len(card.forest.features)), np.float32), len(card.legend))
        _demand(abs(float(said.sum()) - 1) < 1e-3, "its votes are none")
    except Unsafe:
        raise
    except Exception as error:  # a file of anyone's making: what zipfile, numpy and skops raise on it has no end
        raise Unsafe(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from error
    return estimator


def _modules(schema: Any) -> Iterator[str]:
    """All modules that a skops schema names, wherever in it."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "__module__" in value:
                yield str(value["__module__"])
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def opened(bundle: Bundle) -> Any:
    """The trees of a bundle, ready to vote; `Mistake` where they are not sound or another scikit-learn grew them."""
    import sklearn

    forest, file = bundle.card.forest, bundle.weights_file
    if forest.estimator not in FORESTS:
        raise Mistake(f"{file} holds a {forest.estimator}, and there are {', '.join(FORESTS)}; train it anew")
    seen = {band for feature in parsed(forest.features) for band in feature.bands}
    strange = seen - set(bundle.card.band_names)
    if strange:
        raise Mistake(
            f"the forest in {bundle.folder} sees {', '.join(sorted(strange))}, no bands of its card; train it anew"
        )
    if forest.sklearn != sklearn.__version__:
        # https://scikit-learn.org/stable/model_persistence.html: "entirely unsupported and inadvisable"
        raise Mistake(
            f"the forest in {bundle.folder} was grown by scikit-learn {forest.sklearn}, and {sklearn.__version__} is "
            f"installed, which promises nothing for it; pip install scikit-learn=={forest.sklearn}, or train it anew"
        )
    try:
        return unpacked(bundle.content(), bundle.card)
    except Unsafe as error:
        raise Mistake(f"{file} is no forest that can be trusted ({error}); train it anew") from error
