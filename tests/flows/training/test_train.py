"""`landweave train`, from files to a bundle that segments."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from pydantic import ValidationError

from flows.requests.method import recipe_from
from flows.requests.source import Source
from flows.requests.training import Training, group_by_scene
from flows.training.read_samples import samples_of
from flows.training.train import Finished, _key, train
from segmentation.detection.recipe import DetectorRecipe
from segmentation.errors import InputError as NoBundle
from segmentation.models.bundle import load
from segmentation.training.recipe import ForestRecipe, Recipe
from segmentation.training.samples import TEST, TRAIN, VALIDATION
from tests.scenes import BANDS, UTM, draw_pixels, write_scene
from tiling.errors import InputError

QUICK = Recipe(options={"encoder_depth": 1, "decoder_channels": (8, 8)}, chip=16, batch=4, steps=40)
PLACE = Affine(10, 0, 500_000, 0, -10, 5_300_000)


def write_labels(path: Path, codes: np.ndarray) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", height=codes.shape[0], width=codes.shape[1], count=1,
        dtype="uint8", crs=UTM,
        transform=PLACE, nodata=0,
    ) as target:  # fmt: skip
        target.write(codes.astype(np.uint8), 1)
    return path


def truth_of(pixels: np.ndarray) -> np.ndarray:
    """Vegetation, water and the rest, by thresholds; 0 where there is no data."""
    red, nir = pixels[2].astype(float), pixels[3].astype(float)
    index = (nir - red) / np.maximum(nir + red, 1)
    return np.where(np.all(pixels > 0, axis=0), np.select([index > 0.4, index < 0], [2, 1], 3), 0)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", draw_pixels(96, 128))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "labels.tif", truth_of(draw_pixels(96, 128)))


def asked(scene: Path, labels: Path, out: Path, **more) -> Training:  # type: ignore[no-untyped-def]
    return Training(
        sources=(Source(paths=(str(scene),)),),
        labels=(str(labels),),
        out=out,
        **{"recipe": QUICK, **more},
    )


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """What comes of a scene and its labels."""
    folder = tmp_path_factory.mktemp("taught")
    scene = write_scene(folder / "scene.tif", draw_pixels(96, 128))
    labels = write_labels(folder / "labels.tif", truth_of(draw_pixels(96, 128)))
    classes = {1: "Water", 2: "Plants", 3: "Bare"}
    return train(asked(scene, labels, folder / "bundle", classes=classes))


@pytest.mark.slow
def test_scene_and_labels_become_a_bundle_that_segments(
    tmp_path: Path, scene: Path, taught: Finished
) -> None:
    from flows.requests.request import Request
    from flows.requests.segmenters import segmenter_from
    from flows.run import pipeline

    finished, bundle = taught, taught.bundle.folder
    card = load(bundle).card
    assert card.band_names == ("blue", "green", "red", "nir", "swir16", "swir22")
    assert [one.name for one in card.legend.classes] == ["Water", "Plants", "Bare"]
    assert card.gsd == pytest.approx(10, rel=0.01)
    assert finished.validation is not None
    assert {path.name for path in finished.files} >= {"curves.csv", "curves.png", "confusion.png"}
    assert all(path.exists() for path in finished.files)
    curves = list(csv.DictReader((bundle / "curves.csv").open()))
    assert [int(row["step"]) for row in curves] == list(range(2, 41, 2))
    assert float(curves[-1]["loss"]) < float(curves[0]["loss"])
    assert max(float(row["mean_iou"]) for row in curves) > 0.5
    with Image.open(bundle / "curves.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    assert not list(bundle.parent.glob(".bundle*"))

    network = segmenter_from("network", {"bundle": str(bundle), "device": "cpu"})
    run = pipeline.run(
        Request(source=Source(paths=(str(scene),)), out=tmp_path / "run", segmenter=network)
    )
    with rasterio.open(run.folder / "classes.tif") as made:
        found = made.read(1)
    truth = truth_of(draw_pixels(96, 128))
    assert np.mean(found[truth > 0] == truth[truth > 0]) > 0.9


def test_polygons_of_another_crs_will_do(tmp_path: Path, scene: Path) -> None:
    truth = truth_of(draw_pixels(96, 128))
    rows, cols = (n.ravel() for n in np.mgrid[4:90:8, 4:120:8])
    boxes = [
        shapely.box(*(PLACE @ (c - 2, r + 2)), *(PLACE @ (c + 2, r - 2)))
        for r, c in zip(rows, cols, strict=True)
    ]
    names = np.array(["", "water", "plants", "bare"])[truth[rows, cols]]
    frame = geopandas.GeoDataFrame({"kind_of": names}, geometry=boxes, crs=UTM)[names != ""]
    frame.to_crs("EPSG:4326").to_file(tmp_path / "s.gpkg")
    samples, _ = samples_of(
        asked(scene, tmp_path / "s.gpkg", tmp_path / "bundle"), tmp_path / "scratch"
    )
    assert {one.name for one in samples.legend.classes} == {"water", "plants", "bare"}
    assert samples.counts(TRAIN).sum() > samples.counts(VALIDATION).sum() > 0
    assert "shapes validate" in samples.facts["split"]


def test_pieces_hold_every_label_and_what_is_around(tmp_path: Path) -> None:
    pixels, codes = draw_pixels(1200, 900), np.zeros((1200, 900))
    codes[10:20, 10:30], codes[700:720, 800:830], codes[12, 15] = 1, 2, 2
    scene, labels = write_scene(tmp_path / "s.tif", pixels), write_labels(tmp_path / "l.tif", codes)
    samples, _ = samples_of(asked(scene, labels, tmp_path / "b"), tmp_path)
    assert len(samples.pieces) == 2
    assert samples.pieces[0].shape == (256 + 128, 256 + 128)
    valid = np.all(pixels > 0, axis=0)
    assert sum(np.count_nonzero(p.labels) for p in samples.pieces) == np.count_nonzero(
        (codes > 0) & valid
    )


def test_much_is_kept_in_files(
    tmp_path: Path, scene: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = asked(scene, labels, tmp_path / "bundle")
    plain, _ = samples_of(request, tmp_path / "scratch")
    monkeypatch.setattr("flows.training.read_samples._IN_MEMORY", 1)
    kept, _ = samples_of(request, tmp_path / "scratch")
    assert isinstance(kept.pieces[0].pixels, np.memmap)
    assert np.array_equal(kept.pieces[0].pixels, plain.pieces[0].pixels)
    assert np.array_equal(kept.pieces[0].labels, plain.pieces[0].labels)


def test_what_is_kept_in_memory_is_counted_over_all_scenes(
    tmp_path: Path, scene: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = asked(scene, labels, tmp_path / "bundle")
    both = request.model_copy(update={"sources": request.sources * 2, "labels": request.labels * 2})
    (piece,) = samples_of(request, tmp_path / "scratch")[0].pieces
    monkeypatch.setattr(
        "flows.training.read_samples._IN_MEMORY",
        sum(a.nbytes for a in (piece.pixels, piece.valid, piece.labels, piece.part)),
    )
    for asked_for, mapped in ((request, False), (both, True)):
        samples, _ = samples_of(asked_for, tmp_path / "scratch")
        assert [isinstance(one.labels, np.memmap) for one in samples.pieces] == [mapped] * len(
            samples.pieces
        )


def test_a_split_raster_is_obeyed_to_the_pixel(tmp_path: Path, scene: Path, labels: Path) -> None:
    given = np.zeros((96, 128))
    given[:, :60], given[:, 70:] = 1, 2
    path = write_labels(tmp_path / "split.tif", given)
    samples, _ = samples_of(
        asked(scene, labels, tmp_path / "bundle", split=str(path)), tmp_path / "scratch"
    )
    piece = samples.pieces[0]
    assert np.array_equal(piece.part == TEST, (given == 2) & (piece.labels > 0))
    assert not piece.part[given == 0].any()


def test_several_scenes_train_one_model(tmp_path: Path, scene: Path, labels: Path) -> None:
    other = write_scene(tmp_path / "other.tif", draw_pixels(96, 128, seed=1))
    marks = write_labels(tmp_path / "marks.tif", truth_of(draw_pixels(96, 128, seed=1)))
    source, second = (Source(paths=(str(path),)) for path in (scene, other))
    request = Training(
        sources=(source, second),
        labels=(str(labels), str(marks)),
        out=tmp_path / "b",
        split="scenes",
    )
    samples, _ = samples_of(request, tmp_path / "scratch")
    assert [piece.scene for piece in samples.pieces] == ["scene", "other"]
    parts = [set(np.unique(piece.part)) - {0} for piece in samples.pieces]
    assert sorted(map(tuple, parts)) == [(TRAIN,), (VALIDATION,)]


def test_words_are_the_same_class_in_all_files(tmp_path: Path, scene: Path) -> None:
    """Numbered file by file, urban would be 2 in the second, as water is in the first."""
    boxes = [shapely.box(*(PLACE @ (c, 60)), *(PLACE @ (c + 12, 20))) for c in (5, 30, 55, 80)]
    files = [
        (tmp_path / f"{n}.gpkg", names)
        for n, names in enumerate((["forest", "water"] * 2, ["Forest", "urban", "urban", "bare"]))
    ]
    for path, names in files:
        geopandas.GeoDataFrame({"class": names}, geometry=boxes, crs=UTM).to_file(path)
    request = Training(
        sources=(Source(paths=(str(scene),)),) * 2,
        labels=tuple(str(path) for path, _ in files),
        out=tmp_path / "b",
    )
    samples, _ = samples_of(request, tmp_path / "w")
    assert [(one.value, one.name) for one in samples.legend.classes] == [
        (1, "bare"), (2, "forest"), (3, "urban"), (4, "water"),
    ]  # fmt: skip
    assert [sorted(set(np.unique(piece.labels).tolist()) - {0}) for piece in samples.pieces] == [
        [2, 4],
        [1, 2, 3],
    ]


def test_arguments_are_grouped_into_scenes() -> None:
    assert group_by_scene(["a.tif", "leaf_on=b.tif"], 1) == [["a.tif", "leaf_on=b.tif"]]
    assert group_by_scene(["a.tif", "on=b.tif", "c.tif", "on=d.tif"], 2) == [
        ["a.tif", "on=b.tif"],
        ["c.tif", "on=d.tif"],
    ]


def test_mistakes_are_said_before_the_work(tmp_path: Path, scene: Path, labels: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.doc").touch()
    other = write_scene(tmp_path / "other.tif", draw_pixels(96, 128)[:4])
    one = write_labels(tmp_path / "one.tif", np.ones((96, 128)))
    two = Training(
        sources=tuple(Source(paths=(str(path),)) for path in (scene, other)),
        labels=(str(labels),) * 2,
        out=tmp_path / "c",
    )
    missing = two.model_copy(update={"labels": (str(labels),)})
    for request, said in (
        (asked(scene, labels, full), "full holds other files"),
        (asked(scene, one, tmp_path / "b"), "one.tif has one class only"),
        (asked(scene, labels, tmp_path / "b", split="random"), "--split random is refused"),
        (asked(scene, labels, tmp_path / "b", weights=str(tmp_path / "no")), "is no bundle"),
        (two, "other has blue, green, red, nir and scene has"),
        (missing, "2 scenes and 1 files of labels"),
    ):
        with pytest.raises((InputError, NoBundle), match=said):
            train(request)


def test_what_has_no_data_is_not_taught(tmp_path: Path, scene: Path) -> None:
    """The left half of the scene has none: a class that lies there alone is told of, and two are
    needed elsewhere."""
    with rasterio.open(scene, "r+") as opened:
        pixels = opened.read()
        pixels[:, :, :64] = 0
        opened.write(pixels)
    codes = np.tile(np.array([[1, 2], [2, 3]], np.uint8).repeat(8, 0).repeat(8, 1), (6, 8))
    codes[:, :64] = 4
    samples, notes = samples_of(
        asked(scene, write_labels(tmp_path / "a.tif", codes), tmp_path / "b"), tmp_path / "w"
    )
    assert samples.legend.values == (1, 2, 3)
    assert "left out, as no pixel of it has data in the scene: 4" in notes
    for right, said in (
        (1, "a.tif labels nothing but 1 where the scene has data"),
        (0, "a.tif labels no pixel where"),
    ):
        codes[:, :64], codes[:, 64:] = np.where(np.arange(64) < 32, 1, 2), right
        with pytest.raises(InputError, match=said):
            train(asked(scene, write_labels(tmp_path / "a.tif", codes), tmp_path / "b"))
    assert not list(tmp_path.glob(".b*"))


def test_two_values_of_one_name_are_a_mistake_that_names_regroup(
    tmp_path: Path, scene: Path, labels: Path
) -> None:
    with pytest.raises(
        InputError, match="1 and 2 are both called Water; make one class of them with --regroup 2=1"
    ):
        train(asked(scene, labels, tmp_path / "b", classes={1: "Water", 2: "Water", 3: "Bare"}))


def test_bands_in_another_order_are_the_same_bands(
    tmp_path: Path, scene: Path, labels: Path
) -> None:
    turned = write_scene(tmp_path / "turned.tif", draw_pixels(96, 128)[::-1], names=BANDS[::-1])
    two = Training(
        sources=tuple(Source(paths=(str(path),)) for path in (scene, turned)),
        labels=(str(labels),) * 2,
        out=tmp_path / "c",
    )
    samples, _ = samples_of(two, tmp_path / "w")
    one, other = samples.pieces
    assert np.array_equal(one.pixels, other.pixels)


def test_labels_that_were_mended_begin_a_training_anew(
    tmp_path: Path, scene: Path, labels: Path
) -> None:
    request = asked(scene, labels, tmp_path / "b")

    def key() -> str:
        return _key(request, samples_of(request, tmp_path / "w")[0], None)

    first = key()
    assert key() == first
    codes = truth_of(draw_pixels(96, 128))
    codes[10, 10], codes[40, 40] = codes[40, 40], codes[10, 10]
    swapped = np.argwhere(codes == 1)[0], np.argwhere(codes == 2)[0]
    # as many pixels of each class as before
    codes[tuple(swapped[0])], codes[tuple(swapped[1])] = (
        2,
        1,
    )
    write_labels(labels, codes)
    assert key() != first


def test_no_data_may_be_nan(tmp_path: Path, labels: Path) -> None:
    pixels = draw_pixels(96, 128).astype("float32")
    pixels[pixels == 0] = np.nan
    scene = write_scene(tmp_path / "nan.tif", pixels)
    request = Training(
        sources=(Source(paths=(str(scene),), nodata=np.nan),),
        labels=(str(labels),),
        out=tmp_path / "b",
        recipe=QUICK.model_copy(update={"steps": 4}),
    )
    assert train(request).bundle.card.legend.values == (1, 2, 3)


def test_settings_that_are_none_are_told_which_there_are() -> None:
    with pytest.raises(
        InputError,
        match=r"no setting stesp; did you mean steps\? there are architecture, encoder, options",
    ):
        recipe_from({"stesp": 3})
    with pytest.raises(
        InputError, match="there is no setting steps; there are architecture, trees"
    ):
        recipe_from({"architecture": "random-forest", "steps": 3})
    with pytest.raises(InputError, match="chip: Input should be less than or equal to 4096"):
        recipe_from({"chip": 100_000})


@pytest.mark.slow
def test_a_bundle_is_tuned_to_fewer_bands_and_other_classes(
    tmp_path: Path, taught: Finished
) -> None:
    pixels = draw_pixels(96, 128, seed=1)
    four = write_scene(tmp_path / "four.tif", pixels[:4])
    two = write_labels(tmp_path / "two.tif", np.array([0, 7, 9, 9])[truth_of(pixels)])
    tuned = train(
        asked(
            four, two, tmp_path / "new", weights=str(taught.bundle.folder), classes={7: "Water",
            9: "Land"},
            recipe=QUICK.model_copy(update={"options": {}, "steps": 8}),
        )
    )  # fmt: skip
    old, new = (load(folder).card for folder in (taught.bundle.folder, tmp_path / "new"))
    assert new.band_names == ("blue", "green", "red", "nir")
    assert [one.name for one in new.legend.classes] == ["Water", "Land"]
    assert (new.network.architecture, new.network.options) == (
        old.network.architecture,
        old.network.options,
    )
    assert [(band.mean, band.std) for band in new.bands] == [
        (band.mean, band.std) for band in old.bands[:4]
    ]
    assert tuned.validation is not None
    assert tuned.validation.overall_accuracy > 0.9


@pytest.mark.slow
def test_points_will_do(tmp_path: Path, scene: Path) -> None:
    truth = truth_of(draw_pixels(96, 128))
    rows, cols = (n.ravel() for n in np.mgrid[2:94:3, 2:126:3])
    names = np.array(["", "water", "plants", "bare"])[truth[rows, cols]]
    points = [shapely.Point(*(PLACE @ (c + 0.5, r + 0.5))) for r, c in zip(rows, cols, strict=True)]
    frame = geopandas.GeoDataFrame({"class": names}, geometry=points, crs=UTM)[names != ""]
    frame.to_crs("EPSG:4326").to_file(tmp_path / "points.gpkg")
    finished = train(asked(scene, tmp_path / "points.gpkg", tmp_path / "bundle"))
    assert sum(load(tmp_path / "bundle").card.training["labelled pixels"].values()) <= len(frame)
    assert {one.name for one in load(tmp_path / "bundle").card.legend.classes} == {
        "water",
        "plants",
        "bare",
    }
    assert finished.validation is not None
    assert finished.validation.overall_accuracy > 0.8


def test_a_forest_starts_from_nothing_and_says_so(
    tmp_path: Path, scene: Path, labels: Path
) -> None:
    recipe = ForestRecipe(trees=4, windows=(3,), features=8)
    finished = train(asked(scene, labels, tmp_path / "forest", recipe=recipe, weights="none"))
    assert load(tmp_path / "forest").card.model.kind == "forest"
    assert finished.validation is not None
    with pytest.raises(InputError, match="grows from labels alone; leave --weights imagenet out"):
        train(asked(scene, labels, tmp_path / "other", recipe=recipe, weights="imagenet"))


@pytest.mark.slow
def test_a_second_training_of_the_same_bundle_is_refused_and_harms_nothing(
    tmp_path: Path, scene: Path, labels: Path
) -> None:
    recipe = QUICK.model_copy(update={"steps": 4})
    request = asked(scene, labels, tmp_path / "bundle", recipe=recipe)

    def meanwhile(stage: str, done: int, total: int) -> None:
        if stage == "train" and done == total:
            kept = sorted(tmp_path.glob(".bundle.training/**/*"))
            with pytest.raises(
                InputError,
                match=r"bundle is in use by process \d+ on .*; wait for it or name another",
            ):
                train(request.model_copy(update={"fresh": True}))
            assert sorted(tmp_path.glob(".bundle.training/**/*")) == kept

    train(request, meanwhile)
    assert load(tmp_path / "bundle").card.name == "bundle"
    assert not list(tmp_path.glob(".bundle*"))


def test_pixels_that_find_no_room_are_told_of_before_they_are_read(
    tmp_path: Path, scene: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("flows.training.read_samples._IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(
        InputError,
        match=r"cannot keep pixels in .*piece-0\.pixels\.npy: No space left on device; make room",
    ):
        train(asked(scene, labels, tmp_path / "bundle"))
    assert not list(tmp_path.glob(".bundle*"))


COMMAND = (sys.executable, "-m", "flows.cli", "train")


def command(scene: Path, labels: Path, out: Path) -> list[str]:
    small = {
        "options": "{encoder_depth: 1, decoder_channels: [8, 8]}",
        "chip": 16,
        "batch": 8,
        "steps": 120,
    }
    given = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    return [*COMMAND, str(scene), "--labels", str(labels), "--out", str(out), "--json", *given]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_in_the_middle_changes_no_bit(tmp_path: Path, scene: Path, labels: Path) -> None:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    undisturbed = subprocess.run(
        command(scene, labels, tmp_path / "a"), env=env, capture_output=True, text=True, check=True
    )
    killed = subprocess.Popen(
        command(scene, labels, tmp_path / "b"), env=env, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 200
    while not list(tmp_path.glob(".b.training/*/run.pt")) and time.monotonic() < until:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "b").exists()
    resumed = subprocess.run(
        command(scene, labels, tmp_path / "b"), env=env, capture_output=True, text=True, check=True
    )
    said = [json.loads(run.stdout) for run in (undisturbed, resumed)]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert said[0]["validation"] == said[1]["validation"]
    assert not list(tmp_path.glob(".b*"))


def test_with_objects_boundaries_count_more_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    rest = {"scale": 0.0, "balance": 1.0, "batch": 16, "budget": 6.0}
    said, suited = Recipe(class_weights=0.25), Recipe(class_weights=0.25, **rest)
    scene, labels = Path("scene.tif"), Path("labels.gpkg")
    assert asked(scene, labels, tmp_path, recipe=said, instances=True).recipe == suited
    usual = QUICK.model_copy(update={"class_weights": 0.5, **rest, "batch": QUICK.batch})
    assert asked(scene, labels, tmp_path, instances=True).recipe == usual
    assert asked(scene, labels, tmp_path, recipe=said).recipe == said


@pytest.mark.slow
def test_objects_become_a_bundle_that_makes_instances(tmp_path: Path) -> None:
    from flows.objects import run as stages
    from flows.partitions.instances import Instances
    from flows.requests.objects import ObjectsRequest
    from flows.run.instances import look

    pixels = draw_pixels(96, 128)
    rows, cols = np.indices((96, 128))
    ids = (1 + rows // 24 + 10 * (cols // 32)).astype(np.uint8)
    ids[:, 100:] = 0
    inner = (rows % 24 > 0) & (rows % 24 < 23) & (cols % 32 > 0) & (cols % 32 < 31)
    for value, there in ((3000, inner), (800, ~inner), (5000, ids == 0)):
        pixels[:, there] = value + pixels[:, there] // 50
    scene = write_scene(tmp_path / "scene.tif", pixels)
    labels = write_labels(tmp_path / "ids.tif", ids)
    forest = recipe_from({"architecture": "random-forest", "trees": 20, "windows": (3,)})
    finished = train(asked(scene, labels, tmp_path / "b", recipe=forest, instances=True))
    card = finished.bundle.card
    assert [one.name for one in card.legend.classes] == ["Background", "Interior", "Boundary"]
    assert card.training["instances"] == {"boundary_width": 1, "boundary": "between objects"}
    source = Source(paths=(str(scene),))
    request = ObjectsRequest(
        source=source, out=tmp_path / "out", partition=Instances(), network=str(tmp_path / "b")
    )
    made = stages.run(request, look=look)
    with rasterio.open(made.folder / "objects.tif") as raster:
        found = raster.read(1)
    for number in np.unique(ids[ids > 0]):
        there = (ids == number) & inner
        values, counts = np.unique(found[there], return_counts=True)
        assert counts.max() > 0.9 * np.count_nonzero(there), number
        assert values[counts.argmax()] > 0
    assert made.levels[0].count == np.unique(ids[ids > 0]).size


@pytest.mark.parametrize(
    ("said", "gsd", "pixels"),
    [(3, 10, 3), ("10m", 5, 2), ("2.5 m", 10, 1), ("100m", 3, 33), ("0", 10, 0)],
)
def test_a_boundary_is_as_wide_as_pixels_or_metres_say(
    tmp_path: Path, said: object, gsd: float, pixels: int
) -> None:
    wanted = asked(
        tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "c", instances=True, boundary_width=said
    )
    if pixels > 32:
        with pytest.raises(InputError, match="100m is 33 pixels of 3 m"):
            wanted.boundary_pixels(gsd)
    else:
        assert wanted.boundary_pixels(gsd) == pixels


@pytest.mark.parametrize(
    ("more", "fact"),
    [
        ({"boundary_width": 2}, "--boundary-width is for labels that are objects"),
        ({"instances": True, "column": "crop"}, "--column is for classes"),
        ({"instances": True, "boundary_width": "0m"}, "0m is no width"),
        (
            {"instances": True, "boundary_width": 3, "recipe": DetectorRecipe()},
            "mask-rcnn learns no boundary",
        ),
        ({"instances": True, "split": "shapes"}, "objects are parted by blocks"),
    ],
)
def test_settings_of_objects_and_of_classes_do_not_mix(
    tmp_path: Path, more: dict[str, object], fact: str
) -> None:
    with pytest.raises(ValidationError, match=fact):
        asked(tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "c", **more)
