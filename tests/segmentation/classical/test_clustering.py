"""Clusters: scikit-learn's for every pixel, in an order and in colours that say something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pydantic import ValidationError
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.cluster import MiniBatchKMeans as SklearnMiniBatchKMeans
from sklearn.mixture import GaussianMixture as SklearnMixture

from segmentation.classical.clustering import (
    Clustering,
    GaussianMixture,
    KMeans,
    MiniBatchKMeans,
)
from segmentation.classical.quantity import measure
from segmentation.errors import InputError
from segmentation.registry import segmenter_class
from segmentation.segmenter import predict
from tests.chance import SEED
from tests.segmentation.chips import make_chip

BANDS = ["blue", "green", "red", "nir"]
LAND = np.array([[0.05, 0.08, 0.05, 0.4], [0.1, 0.12, 0.15, 0.2], [0.06, 0.05, 0.03, 0.02]])
KINDS = [
    (KMeans, lambda k: SklearnKMeans(k, n_init=4, random_state=0)),
    (MiniBatchKMeans, lambda k: SklearnMiniBatchKMeans(k, n_init=4, random_state=0)),
    (GaussianMixture, lambda k: SklearnMixture(k, max_iter=200, random_state=0)),
]


def land(height: int = 60, width: int = 70) -> tuple[Any, np.ndarray]:
    """A chip of three covers, some of it invalid, and which cover each pixel has."""
    rng = np.random.default_rng(SEED)
    cover = rng.integers(0, 3, (height, width))
    noise = rng.normal(1, 0.08, (4, height, width))
    valid = rng.random((height, width)) > 0.05
    pixels = (LAND[cover].transpose(2, 0, 1) * noise).astype(np.float32)
    return make_chip(pixels, BANDS, valid=valid), cover


def standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)


@pytest.mark.parametrize(("kind", "make"), KINDS)
def test_every_pixel_has_scikit_learns_label(kind: type[Clustering], make: Any) -> None:
    chip, _ = land()
    valid = chip["valid"].values
    points = standardise(chip["pixels"].values[:, valid].T.astype(np.float64))
    oracle = make(5).fit(points)
    labels = kind(k=5).fit(chip)(chip).labels[valid] - 1
    centres = oracle.means_ if kind is GaussianMixture else oracle.cluster_centers_
    clusters = kind(k=5).fit(chip).fitted
    assert clusters is not None
    order = [int(np.abs(centres - np.array(centre)).sum(1).argmin()) for centre in clusters.centres]
    assert sorted(order) == list(range(5))
    assert np.array_equal(np.array(order)[labels], oracle.predict(points))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "make"), KINDS)
def test_every_pixel_of_a_real_scene_has_scikit_learns_label(
    kind: type[Clustering], make: Any, shared_data: Path
) -> None:
    """Olinda, Landsat 7, six bands of eight bits: many pixels are the same."""
    with rasterio.open(shared_data / "landsat7_olinda" / "L7_ETMs.tif") as source:
        chip = make_chip(source.read(), [f"band_{at}" for at in range(1, 7)], units="dn")
    points = standardise(chip["pixels"].values.reshape(6, -1).T.astype(np.float64))
    fitted = kind(k=6).fit(chip)
    assert fitted.fitted is not None
    oracle = make(6).fit(points)
    pairs = np.unique(np.stack([fitted(chip).labels.ravel(), oracle.predict(points)]), axis=1)
    assert pairs.shape == (2, 6)  # one of theirs for each of ours


def test_the_posterior_is_scikit_learns() -> None:
    chip, _ = land()
    valid = chip["valid"].values
    points = standardise(chip["pixels"].values[:, valid].T.astype(np.float64))
    oracle = SklearnMixture(4, max_iter=200, random_state=0).fit(points)
    confidence = GaussianMixture(k=4).fit(chip)(chip).confidence
    assert confidence is not None
    expected = 100 * oracle.predict_proba(points).max(1)
    assert np.abs(confidence[valid] - expected).max() <= 1


def test_covers_are_found_and_ordered_by_greenness() -> None:
    chip, cover = land()
    (prediction,) = predict(KMeans(k=3).fit(chip), [chip])
    valid = chip["valid"].values
    ordered = np.array([3, 2, 1])[cover]  # grass, soil, water
    assert np.array_equal(prediction.labels[valid], ordered[valid])
    assert not prediction.labels[~valid].any()
    names = [one.name for one in KMeans(k=3).fit(chip).legend.each()]
    assert names == ["Cluster 1", "Cluster 2", "Cluster 3"]


def test_without_red_and_nir_the_order_is_from_dark_to_bright() -> None:
    bands = np.array([[[0.5, 0.5, 0.1, 0.1, 0.3, 0.3]]], np.float32)
    chip = make_chip(bands, ["band_1"])
    assert KMeans(k=3).fit(chip)(chip).labels.tolist() == [[3, 3, 1, 1, 2, 2]]


def test_clusters_have_the_colour_they_are_seen_in() -> None:
    chip = make_chip(
        np.array([[[0.9, 0.1]], [[0.1, 0.9]], [[0.1, 0.1]]], np.float32), ["red", "green", "blue"]
    )
    colours = {one.colour for one in KMeans(k=2).fit(chip).legend.each()}
    assert colours == {"#ff0000", "#00ff00"}
    other = make_chip(np.array([[[0.9, 0.1]]], np.float32), ["vv"])
    assert len({one.colour for one in KMeans(k=2).fit(other).legend.each()}) == 2


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, GaussianMixture])
def test_no_shape_of_a_chip_changes_a_bit(kind: type[Clustering]) -> None:
    chip, _ = land(80, 150)
    fitted = kind(k=4, features="red,nir,NDVI").fit(chip)
    whole = fitted(chip)
    rng = np.random.default_rng(SEED)
    for _ in range(12):
        top, left = rng.integers(0, 79), rng.integers(0, 149)
        window = {
            "y": slice(top, top + int(rng.integers(1, 80))),
            "x": slice(left, left + int(rng.integers(1, 150))),
        }
        piece = fitted(chip.isel(window))
        assert np.array_equal(piece.labels, whole.labels[window["y"], window["x"]])
        assert whole.confidence is not None
        assert piece.confidence is not None
        assert np.array_equal(piece.confidence, whole.confidence[window["y"], window["x"]])


@pytest.mark.parametrize(
    ("kind", "choose"),
    [
        (KMeans, "elbow"),
        (KMeans, "silhouette"),
        (MiniBatchKMeans, "silhouette"),
        (GaussianMixture, "silhouette"),
        (GaussianMixture, "bic"),
    ],
)
def test_three_covers_are_three_clusters(kind: type[Clustering], choose: str) -> None:
    chip, _ = land()
    fitted = kind.model_validate({"kind": kind().kind, "k": 7, "choose": choose}).fit(chip)
    assert len(fitted.legend) == 3
    assert fitted.fit_summary.startswith("3 clusters of ")
    assert f"; {choose} of each number: " in fitted.fit_summary
    curve = fitted.fit_curve
    assert curve is not None
    assert curve.choice == 3
    assert [value for value, _ in curve.points] == list(range(8 - len(curve.points), 8))
    assert kind(k=3).fit(chip).fit_curve is None, "nothing was chosen"


def test_an_undefined_index_counts_as_the_mean() -> None:
    chip, _ = land()
    chip["pixels"].values[:, 0, 0] = 0
    chip["valid"].values[0, 0] = True
    fitted = KMeans(k=2, features="NDVI").fit(chip)
    assert np.isnan(measure("NDVI", chip)[0, 0])
    assert fitted.fitted is not None
    centres = np.abs([centre[0] for centre in fitted.fitted.centres])
    assert fitted(chip).labels[0, 0] == 1 + centres.argmin()


def test_fewer_values_than_clusters_are_as_many_clusters() -> None:
    chip = make_chip(np.array([[[0.1, 0.1, 0.9, 0.9]]], np.float32), ["vv"])
    assert len(KMeans(k=6).fit(chip).legend) == 2
    with pytest.raises(InputError, match="kmeans finds one value in the whole scene"):
        KMeans().fit(make_chip(np.ones((1, 3, 3), np.float32), ["vv"]))


def test_bands_are_those_of_the_features_or_all() -> None:
    assert KMeans().bands(["vv", "vh"]) == ("vv", "vh")
    assert KMeans(features="NDVI,red").bands(["blue", "red", "nir08"]) == ("nir08", "red")
    with pytest.raises(InputError, match="NDWI needs green and nir; there are red"):
        KMeans(features="NDWI").bands(["red"])
    with pytest.raises(InputError, match="thing is neither an index nor a band"):
        GaussianMixture(features="red,thing").bands(["red"])


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, GaussianMixture])
def test_it_is_registered_keeps_its_fit_and_travels_as_json(kind: type[Clustering]) -> None:
    chip, _ = land()
    fitted = kind(k=3).fit(chip)
    assert segmenter_class(fitted.kind) is kind
    assert kind.model_validate_json(fitted.model_dump_json()) == fitted
    assert len(fitted.model_dump_json()) < 4000
    assert fitted.fit(land(20, 20)[0]) == fitted
    assert kind(k=3).fit(chip) == fitted


def test_what_a_kind_cannot_judge_by_is_refused() -> None:
    with pytest.raises(ValidationError):
        KMeans.model_validate({"kind": "kmeans", "choose": "bic"})
    with pytest.raises(InputError, match="names has 2 entries for 3 classes"):
        _ = KMeans(k=3, names="A,B").legend
