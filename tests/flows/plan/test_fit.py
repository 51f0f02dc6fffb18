"""A model meets a scene: what is wrong is refused before the work, what is odd is said after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flows.plan.plan import make_plan
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.rules import Rules
from segmentation.inference.network import Network
from segmentation.models.bundle import QUANTILES, BandCard, save
from tests.scenes import BANDS, draw_pixels, write_scene
from tests.segmentation.small_networks import a_card, lively_state
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("white_pictures")

USED = ("green", "red", "nir")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that knows how the values of drawn scenes lie."""
    pixels = draw_pixels(128, 128)
    valid = pixels.all(axis=0)
    bands = [
        BandCard(
            name=name,
            mean=0.1,
            std=0.1,
            quantiles=tuple(np.quantile(pixels[BANDS.index(name)][valid] * 1e-4, QUANTILES)),
        )
        for name in USED
    ]
    card = a_card()
    return save(
        tmp_path_factory.mktemp("bundle") / "b",
        card.model_copy(update={"bands": tuple(bands)}),
        lively_state(card.model_dump_json()),
    ).folder


def request(scene: Path, out: Path, bundle: Path, **changes: object) -> Request:
    return Request(
        source=Source(paths=(str(scene),)),
        out=out,
        segmenter=Network(bundle=str(bundle), device="cpu"),
        **changes,
    )  # type: ignore[arg-type]


def test_an_offset_nobody_applied_is_refused_and_nothing_is_written(
    bundle: Path, tmp_path: Path
) -> None:
    pixels = draw_pixels(96, 96, seed=1)
    shifted = write_scene(
        tmp_path / "shifted.tif", np.where(pixels > 0, pixels + 1000, 0).astype(np.uint16)
    )
    with pytest.raises(
        InputError,
        match=r"^shifted: test: its values lie 0\.1 too high .* insist with --preflight warn$",
    ):
        pipeline.run(request(shifted, tmp_path / "run", bundle))
    assert not (tmp_path / "run").exists()


def test_whoever_insists_gets_the_map_and_the_warning(bundle: Path, tmp_path: Path) -> None:
    coarse = write_scene(tmp_path / "coarse.tif", draw_pixels(64, 64, seed=1), resolution=200.0)
    with pytest.raises(InputError, match="trained on pixels of 10 m and these are 200 m"):
        make_plan(request(coarse, tmp_path / "run", bundle))
    published = pipeline.run(request(coarse, tmp_path / "run", bundle, preflight="warn"))
    (warning,) = published.record["warnings"]
    assert "gdalwarp -tr 10 10" in warning
    assert (tmp_path / "run" / "classes.tif").exists()


def test_a_scene_without_a_valid_pixel_is_told_of_beside_its_empty_map(
    bundle: Path, tmp_path: Path
) -> None:
    empty = write_scene(tmp_path / "empty.tif", np.zeros((len(BANDS), 64, 64), np.uint16))
    plan = make_plan(request(empty, tmp_path / "run", bundle))
    assert plan.warnings == ("empty shows no valid pixel; check its no data and mask",)


def test_a_resumed_run_repeats_its_warnings_without_looking_again(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_scene(tmp_path / "scene.tif", draw_pixels(64, 64, seed=1), resolution=20.0)
    first = pipeline.run(request(scene, tmp_path / "run", bundle))
    monkeypatch.setattr("tiling.scene.scene.Scene.sample", None)
    again = pipeline.run(request(scene, tmp_path / "run", bundle))
    assert first.record["warnings"] == again.record["warnings"] != []


@pytest.mark.parametrize("side", [24, 64])
def test_eight_bits_make_no_map_of_rules_under_the_usual_scale_and_a_warned_one_under_another(
    tmp_path: Path, side: int
) -> None:
    picture = np.random.default_rng(0).integers(1, 256, (4, side, side)).astype(np.uint8)
    scene = write_scene(tmp_path / "picture.tif", picture)
    asked = Request(
        source=Source(paths=(str(scene),), scale=0.0001), out=tmp_path / "run", segmenter=Rules()
    )
    with pytest.raises(
        InputError,
        match=r"^picture: .* reflectance of 0\.0\d+ .* no --scale undoes that: train a model",
    ):
        pipeline.run(asked)
    assert not (tmp_path / "run").exists()
    said = asked.model_copy(update={"source": Source(paths=(str(scene),), scale=0.004)})
    (warning,) = pipeline.run(said).record["warnings"]
    assert "no --scale undoes that" in warning
