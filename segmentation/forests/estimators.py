"""Trees that vote: the kinds of them, and what is checked of each.

Opening a file runs no code from it: only the types that scikit-learn's trees are made of are let
in, and every step a tree can take is checked before the first is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Shares = npt.NDArray[np.float32]


def predict_proba(
    trees: Any, pixels: npt.NDArray[np.float32], classes: int, temperature: float = 1.0
) -> Shares:
    """`(n, class) float32`: what trees say of pixels `(n, feature)`; a class they never met gets 0.

    `temperature` is what the logarithms of the shares are divided by.
    """
    shares = np.zeros((len(pixels), classes))
    shares[:, trees.classes_] = trees.predict_proba(np.ascontiguousarray(pixels))
    if temperature != 1:
        shares **= 1 / temperature
        shares /= shares.sum(1, keepdims=True)
    return shares.astype(np.float32)


# ----------------------------------------------------------------------------------- kinds of trees


class EstimatorKind(NamedTuple):
    """A kind of trees: what it is, how many by default, and how it is made."""

    what: str
    """What it is, in a few words."""
    trees: int
    """How many there are by default; of boosting, rounds."""
    make: Callable[[int, int], Any]
    """An estimator of scikit-learn, not fitted yet, with so many trees, grown from a seed."""
    check: Callable[[Any, int, int], None]
    """Raises `UnsafeFileError` unless an estimator that was read has sound trees for so many
    features and classes."""


class UnsafeFileError(ValueError):
    """A file of trees that may not be loaded, and why."""


def _random_forest(trees: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, min_samples_leaf=3, max_features=0.3, random_state=seed)


def _extra_trees(trees: int, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(trees, min_samples_leaf=3, max_features=0.3, random_state=seed)


def _gradient_boosting(trees: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=trees, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=30,
        l2_regularization=5.0,
        max_features=0.3, early_stopping=False, random_state=seed,
    )  # fmt: skip


def _check_voters(estimator: Any, features: int, classes: int) -> None:
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier
    from sklearn.tree._tree import Tree

    demand(
        type(estimator) in (RandomForestClassifier, ExtraTreesClassifier), "it holds something else"
    )
    voters = estimator.estimators_
    demand(isinstance(voters, list) and len(voters) > 0, "it has no trees")
    known = _check_classes(estimator, features, classes)
    for voter in voters:
        demand(
            type(voter) in (DecisionTreeClassifier, ExtraTreeClassifier), "one of its trees is none"
        )
        demand(type(voter.tree_) is Tree, "one of its trees is none")
        demand(
            voter.n_outputs_ == 1 and voter.n_features_in_ == features, "a tree sees other features"
        )
        state = voter.tree_.__getstate__()
        nodes, values = state["nodes"], state["values"]
        demand(voter.tree_.n_features == features, "a tree sees other features")
        demand(
            values.shape == (len(nodes), 1, known) and bool(np.isfinite(values).all()),
            "its votes are none",
        )
        leaf = nodes["left_child"] == -1
        _check_steps(nodes["left_child"], nodes["right_child"], nodes["feature"], leaf, features)


def _check_boosted(estimator: Any, features: int, classes: int) -> None:
    from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    demand(type(estimator) is HistGradientBoostingClassifier, "it holds something else")
    known = _check_classes(estimator, features, classes)
    columns = 1 if known == 2 else known
    demand(
        type(estimator._loss) is (HalfBinomialLoss if known == 2 else HalfMultinomialLoss),
        "its loss is none",
    )
    demand(
        estimator._preprocessor is None and estimator.is_categorical_ is None, "it sees categories"
    )
    demand(estimator.n_trees_per_iteration_ == columns, "its rounds do not fit its classes")
    demand(np.shape(estimator._baseline_prediction) == (1, columns), "its baseline is none")
    for trees in estimator._predictors:
        demand(
            isinstance(trees, list) and len(trees) == columns, "its rounds do not fit its classes"
        )
        for tree in trees:
            demand(type(tree) is TreePredictor, "one of its trees is none")
            nodes = tree.nodes
            demand(
                nodes.dtype == PREDICTOR_RECORD_DTYPE and nodes.ndim == 1,
                "the nodes of a tree are none",
            )
            demand(not nodes["is_categorical"].any(), "it sees categories")
            leaf = nodes["is_leaf"].astype(bool)
            left, right, which = (
                nodes[name].astype(np.int64) for name in ("left", "right", "feature_idx")
            )
            _check_steps(left, right, which, leaf, features)


def _check_classes(estimator: Any, features: int, classes: int) -> int:
    """How many classes its trees tell apart."""
    found = estimator.classes_
    demand(
        isinstance(found, np.ndarray) and found.ndim == 1 and found.dtype.kind == "i",
        "its classes are none",
    )
    demand(len(set(found.tolist())) == len(found) > 1, "its classes are none")
    demand(
        found.min() >= 0 and found.max() < classes, "it says classes that the card does not have"
    )
    demand(estimator.n_features_in_ == features, "it sees other features than the card says")
    return len(found)


def _check_steps(left: Any, right: Any, feature: Any, leaf: Any, features: int) -> None:
    """Every step leads on, to a node that is there, and looks at a feature that is there: no tree
    loops or strays.

    scikit-learn follows these numbers in C without a look at them:
    https://github.com/scikit-learn/scikit-learn/pull/34558
    """
    nodes, inner = np.arange(len(left)), ~leaf
    demand(len(nodes) > 0, "a tree has no node")
    for child in (left[inner], right[inner]):
        demand(
            bool(((child > nodes[inner]) & (child < len(nodes))).all()),
            "a step of a tree leads astray",
        )
    seen = feature[inner]
    demand(
        bool(((seen >= 0) & (seen < features)).all()), "a tree looks at a feature that is not there"
    )


def demand(fact: bool, else_wrong: str) -> None:
    if not fact:
        raise UnsafeFileError(else_wrong)


FORESTS: Mapping[str, EstimatorKind] = {
    "random-forest": EstimatorKind(
        "trees on samples of the pixels, that vote (Breiman 2001)",
        48,
        _random_forest,
        _check_voters,
    ),
    "extra-trees": EstimatorKind(
        "trees with random thresholds, that vote (Geurts 2006)", 48, _extra_trees, _check_voters
    ),
    "gradient-boosting": EstimatorKind(
        "small trees, each mending the last (Ke 2017)", 100, _gradient_boosting, _check_boosted
    ),
}
"""All kinds of trees, by the name that a card and `--architecture` have for them."""
