"""A map against a reference: aligned where it lies, the same whatever the blocks, honest about what
it cannot say."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from rasterio.warp import Resampling, reproject
from typer.testing import CliRunner

from flows.assessment.evaluate import evaluate
from flows.assessment.figures import draw_confusion, write_accuracy
from flows.cli import app
from segmentation.accuracy.boundary_f1 import boundary
from segmentation.accuracy.confusion import Accuracy
from segmentation.models.bundle import load, write
from tests.pages import Reader
from tiling.errors import InputError
from tiling.formats.pam import sidecar_text
from tiling.io.access import AccessPolicy, restrict_access

UTM = "EPSG:32633"


def write_classes(
    path: Path,
    values: np.ndarray,
    *,
    west: float = 0,
    pixel: float = 10,
    nodata: int | None = 0,
    crs: str = UTM,
    transform: Affine | None = None,
    beside: tuple[np.ndarray, ...] = (),
    **options: str,
) -> Path:
    bands = np.stack([values, *beside])
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=len(bands),
        dtype=values.dtype,
        crs=crs, transform=transform or Affine(pixel, 0, 500_000 + west, 0, -pixel, 5_300_000),
        nodata=nodata,
        **options,
    ) as target:  # fmt: skip
        target.write(bands)
    return path


def write_shapes(path: Path, shapes: list[Any], classes: list[Any], crs: str = UTM) -> Path:
    """A GeoPackage of shapes in `crs`, given in the pixels of `write_classes`."""
    placed = shapely.transform(shapes, lambda xy: xy * (10, -10) + (500_000, 5_300_000))
    geopandas.GeoDataFrame({"class": classes}, geometry=placed, crs=UTM).to_crs(crs).to_file(path)
    return path


def patches(seed: int, height: int = 90, width: int = 120, size: int = 7) -> np.ndarray:
    """Patches of classes 1–4 with holes of no data."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 5, (-(-height // size), -(-width // size)))
    values = np.kron(coarse, np.ones((size, size), int))[:height, :width]
    return np.where(rng.random(values.shape) < 0.03, 0, values).astype(np.uint8)


def confusion(accuracy: Accuracy) -> dict[tuple[int, int], int]:
    values = [one.value for one in accuracy.classes]
    return {
        (true, said): count
        for true, row in zip(values, accuracy.matrix, strict=True)
        for said, count in zip(values, row, strict=True)
        if count
    }


# ------------------------------------------------------------------------------ rasters and rasters


def test_a_map_agrees_with_itself(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4, (50, 60), np.uint8)
    accuracy = evaluate(
        write_classes(tmp_path / "a.tif", values), write_classes(tmp_path / "b.tif", values)
    )
    assert accuracy.overall_accuracy == accuracy.mean_iou == accuracy.kappa == 1
    assert sum(row["support"] for row in accuracy.to_dict()["classes"]) == (values > 0).sum()
    assert accuracy.boundaries is not None
    assert accuracy.boundaries.mean_f1 == 1
    assert accuracy.compared == "compared on the grid that a.tif and b.tif share"


def test_one_wrong_pixel_in_four_counts_as_that(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[1, 1, 2, 2]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[1, 2, 2, 2]], np.uint8))
    accuracy = evaluate(found, truth)
    assert accuracy.overall_accuracy == 0.75
    assert [row["iou"] for row in accuracy.to_dict()["classes"]] == [1 / 2, 2 / 3]


def test_the_reference_is_laid_over_the_map_where_it_lies(tmp_path: Path) -> None:
    """A coarser reference that covers only the eastern half, shifted: each map pixel is judged by
    what lies there."""
    found = write_classes(tmp_path / "map.tif", np.array([[3, 1, 1, 2], [3, 1, 1, 2]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[1, 2]], np.uint8), west=20, pixel=20)
    accuracy = evaluate(found, truth)
    assert accuracy.overall_accuracy == 0.5
    assert sum(row["support"] for row in accuracy.to_dict()["classes"]) == 4
    assert accuracy.compared == (
        "compared on the grid of map.tif (10 m), truth.tif (20 m) resampled by nearest neighbour"
    )


def test_a_much_finer_reference_is_compared_pixel_by_pixel_on_its_own_grid(tmp_path: Path) -> None:
    """Of sixteen pixels of 2.5 m in one of the map's three differ; nearest neighbour on the map's
    grid sees none."""
    fine = np.ones((8, 8), np.uint8)
    fine[0, :3] = 2
    found = write_classes(tmp_path / "map.tif", np.ones((2, 2), np.uint8))
    truth = write_classes(tmp_path / "truth.tif", fine, pixel=2.5)
    accuracy = evaluate(found, truth)
    assert accuracy.overall_accuracy == 61 / 64
    assert accuracy.compared.startswith("compared on the grid of truth.tif (2.5 m), map.tif (10 m)")
    assert (
        accuracy.notes[0]
        == "each pixel of map.tif counts about 16 times, once for each finer one on it"
    )
    assert evaluate(found, truth, on="reference") == accuracy
    with pytest.raises(
        InputError, match=r"would never look at 94 % of truth.tif; compare with --on reference"
    ):
        evaluate(found, truth, on="map")


def test_on_the_reference_says_whose_pixels_count(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[1, 1, 2, 2]], np.uint8).repeat(4, 0))
    truth = write_classes(tmp_path / "truth.tif", np.full((2, 2), 1, np.uint8), pixel=18)
    assert sum(evaluate(found, truth).matrix[0]) + sum(evaluate(found, truth).matrix[1]) == 16
    assert sum(map(sum, evaluate(found, truth, on="reference").matrix)) == 4


def test_another_crs_is_what_gdals_warper_makes_of_it(tmp_path: Path) -> None:
    """The reference in degrees; counted on the map's UTM grid as a warped copy of it would be."""
    found, there = patches(0), patches(1, 140, 130, 9)
    degrees = Affine(1.3e-4, 0, 14.999, 0, -9e-5, 47.852)
    map_path = write_classes(tmp_path / "map.tif", found)
    truth = write_classes(tmp_path / "truth.tif", there, crs="EPSG:4326", transform=degrees)
    warped = np.zeros_like(found)
    reproject(
        there, warped, src_transform=degrees, src_crs="EPSG:4326", src_nodata=0, dst_nodata=0,
        dst_transform=Affine(10, 0, 500_000, 0, -10, 5_300_000), dst_crs=UTM,
        resampling=Resampling.nearest,
        tolerance=1e-9,
    )  # fmt: skip
    assert 0.3 < (warped > 0).mean() < 1  # they overlap in part
    copy = write_classes(tmp_path / "copy.tif", warped)
    assert (
        evaluate(map_path, truth, tolerance=0).matrix
        == evaluate(map_path, copy, tolerance=0).matrix
    )


@pytest.mark.parametrize("block", [16, 37, 64])
def test_no_figure_follows_from_the_blocks(tmp_path: Path, block: int) -> None:
    """Maps in degrees, where pixels change their width from row to row, a reference in UTM,
    confidence, a mask."""
    rng = np.random.default_rng(0)
    degrees = Affine(3e-3, 0, 14, 0, -2e-3, 60)
    found = patches(0)
    map_path = write_classes(tmp_path / "classes.tif", found, crs="EPSG:4326", transform=degrees)
    sure = rng.integers(0, 101, found.shape).astype(np.uint8)
    write_classes(tmp_path / "confidence.tif", sure, crs="EPSG:4326", transform=degrees, nodata=255)
    utm = Affine(190, 0, 443_000, 0, -190, 6_652_000)
    truth = write_classes(tmp_path / "truth.tif", patches(0, 130, 130, 9), transform=utm)
    mask = write_classes(tmp_path / "mask.tif", patches(2), crs="EPSG:4326", transform=degrees)
    settings: dict[str, Any] = {"mask": mask, "mask_value": 2, "tolerance": 700}
    whole = evaluate(map_path, truth, **settings)
    assert whole.boundaries is not None
    assert 0 < whole.boundaries.mean_f1 < 1
    assert whole.reliability is not None
    assert evaluate(map_path, truth, block=block, **settings) == whole


def test_boundaries_are_measured_in_metres_on_the_ground(tmp_path: Path) -> None:
    """At 60° north 0.001° is 56 m across: a boundary two columns off is found within 115 m, not
    within 105 m."""
    one, other = (
        np.where(np.arange(30) < at, 1, 2)[None].repeat(9, 0).astype(np.uint8) for at in (10, 12)
    )
    degrees = Affine(1e-3, 0, 14, 0, -1e-3, 60)
    found = write_classes(tmp_path / "map.tif", one, crs="EPSG:4326", transform=degrees)
    truth = write_classes(tmp_path / "truth.tif", other, crs="EPSG:4326", transform=degrees)
    for tolerance, score in ((105, 0), (115, 1)):
        boundaries = evaluate(found, truth, tolerance=tolerance).boundaries
        assert boundaries is not None
        assert boundaries.mean_f1 == score


def test_the_default_tolerance_is_two_pixels_of_the_coarser(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", patches(0))
    truth = write_classes(tmp_path / "truth.tif", patches(0, 50, 50, 4), pixel=30)
    for reference, expected in ((found, 20), (truth, 60)):
        boundaries = evaluate(found, reference).boundaries
        assert boundaries is not None
        assert boundaries.tolerance_m == pytest.approx(expected, rel=2e-3)


def test_zero_is_a_class_where_the_reference_declares_no_other(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[0, 1]], np.uint8), nodata=None)
    truth = write_classes(tmp_path / "truth.tif", np.array([[0, 1]], np.uint8), nodata=None)
    assert sum(row["support"] for row in evaluate(found, truth).to_dict()["classes"]) == 2


def test_a_mask_says_where_to_look(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[1, 1, 1]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[1, 2, 1]], np.uint8))
    mask = write_classes(tmp_path / "mask.tif", np.array([[2, 1, 2]], np.uint8))
    assert evaluate(found, truth, mask=mask, mask_value=2).overall_accuracy == 1
    assert evaluate(found, truth, mask=mask, mask_value=1).overall_accuracy == 0
    with pytest.raises(InputError, match=r"share no labelled pixel where .*mask\.tif is 3; check"):
        evaluate(found, truth, mask=mask, mask_value=3)


def test_classes_are_regrouped_before_anything_is_counted(tmp_path: Path) -> None:
    """Two classes that trade places do not collide; one that becomes nothing is left out."""
    found = write_classes(tmp_path / "map.tif", np.array([[1, 2, 3, 9]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[20, 10, 30, 30]], np.uint8))
    accuracy = evaluate(
        found, truth, map_classes={1: 2, "2": "1", 9: None}, reference_classes={10: 1, 20: 2,
        30: "Town"},
        legend=[(1, "1", "#111111"), (3, "Town", "#333333")],
    )  # fmt: skip
    assert confusion(accuracy) == {(1, 1): 1, (2, 2): 1, (3, 3): 1}
    assert [one.name for one in accuracy.classes] == ["1", "Class 2", "Town"]
    with pytest.raises(
        InputError, match=r"--reference-classes: the map has no class Village; it has 3=Town"
    ):
        evaluate(found, truth, reference_classes={30: "Village"}, legend=[(3, "Town", "#333333")])


@pytest.mark.parametrize("block", [1, 2, 64])
def test_unknown_is_no_answer_unless_it_is_named(tmp_path: Path, block: int) -> None:
    legend = [(1, "Water", "#0000ff"), (2, "Forest", "#00ff00"), (254, "unknown", "#7f7f7f")]
    found = write_classes(tmp_path / "map.tif", np.uint8([[1, 1, 254, 0], [2, 1, 254, 254]]))
    truth = write_classes(tmp_path / "truth.tif", np.uint8([[1, 1, 1, 1], [2, 2, 0, 2]]))
    settings: dict[str, Any] = {"legend": legend, "tolerance": 0, "block": block}
    plain = evaluate(found, truth, **settings)
    assert confusion(plain) == {(1, 1): 2, (2, 1): 1, (2, 2): 1}
    assert plain.notes == (
        "where the map is Unknown it gives no answer: 2 of 6 with a reference, 33.3 %, are left "
        "out of every figure",
    )
    for key in ("Unknown", 254, "254"):
        judged = evaluate(found, truth, map_classes={key: "Unknown"}, **settings)
        assert confusion(judged) == {(1, 1): 2, (1, 254): 1, (2, 1): 1, (2, 2): 1, (2, 254): 1}
        assert judged.notes == ()
    counted = evaluate(found, truth, map_classes={254: "Forest"}, **settings)
    assert confusion(counted) == {(1, 1): 2, (1, 2): 1, (2, 1): 1, (2, 2): 2}


def test_points_where_the_map_is_unknown_are_counted_apart(tmp_path: Path) -> None:
    legend = [(1, "Water", "#0000ff"), (254, "Unknown", "#7f7f7f")]
    found = write_classes(tmp_path / "map.tif", np.uint8([[1, 1, 254, 254]]))
    points = [shapely.Point(col + 0.5, 0.5) for col in range(4)]
    shapes = write_shapes(tmp_path / "points.gpkg", points, ["Water", "Water", "Water", "Water"])
    accuracy = evaluate(found, shapes, legend=legend, column="class")
    assert confusion(accuracy) == {(1, 1): 2}
    assert accuracy.notes[0].startswith("where the map is Unknown it gives no answer: 2 of 4 with")


def test_what_must_not_be_misread_is_noted(tmp_path: Path) -> None:
    """Maps whose values have nothing to do with each other."""
    found = write_classes(tmp_path / "map.tif", np.array([[1, 2]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[11, 12]], np.uint8))
    assert any("no class in common" in note for note in evaluate(found, truth).notes)
    assert evaluate(found, truth, reference_classes={11: 1, 12: 2}).notes == ()


def name_classes(raster: Path, names: dict[int, str]) -> None:
    raster.with_name(f"{raster.name}.aux.xml").write_text(sidecar_text(names))


def test_named_classes_are_matched_by_name(tmp_path: Path) -> None:
    """The numbers of a map and of its reference have nothing to do with each other; what is known
    by no name of the map is a class of its own, and not the one that happens to have its number."""
    found = write_classes(tmp_path / "map.tif", np.array([[1, 2, 3, 3]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[2, 1, 7, 3]], np.uint8))
    name_classes(found, {1: "Water", 2: "Trees", 3: "Crops"})
    name_classes(truth, {1: "trees", 2: "water", 3: "Town", 7: "CROPS"})
    accuracy = evaluate(found, truth)
    assert accuracy.overall_accuracy == 3 / 4
    assert {one.name: one.support for one in accuracy.classes} == {
        "Water": 1,
        "Trees": 1,
        "Crops": 1,
        "Town": 1,
    }
    assert accuracy.doubts == ()
    assert accuracy.notes == (
        "map.tif has no class called Town, so it is nowhere right where truth.tif has it; if one "
        "of its own is the "
        "same, say so with --reference-classes",
    )
    regrouped = evaluate(found, truth, reference_classes={"Town": "Crops"})
    assert (regrouped.overall_accuracy, regrouped.notes) == (1, ())
    assert evaluate(found, truth, reference_classes={3: 2}).overall_accuracy == 3 / 4


def test_of_two_legends_without_a_common_name_nothing_is_guessed(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[1, 2]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[1, 2]], np.uint8))
    name_classes(found, {1: "Water", 2: "Trees"})
    name_classes(truth, {1: "Forest", 2: "Sea"})
    with pytest.raises(
        InputError,
        match=r"names Forest, Sea and map\.tif names Water, Trees: .* for example 'Forest=Water'",
    ):
        evaluate(found, truth)
    assert (
        evaluate(
            found, truth, reference_classes={"Forest": "Trees", "Sea": "Water"}
        ).overall_accuracy
        == 0
    )


@pytest.mark.parametrize("bare", ["map", "truth", "points"])
def test_bare_numbers_against_names_are_doubted_beside_every_figure(
    tmp_path: Path, bare: str
) -> None:
    """Water in a forest: one file of labels gave 0.21, another of the same labels 1.00, both
    without a word."""
    found = write_classes(tmp_path / "map.tif", np.array([[1, 2]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[1, 2]], np.uint8))
    name_classes(truth if bare == "map" else found, {1: "Water", 2: "Trees"})
    if bare == "points":
        centres = [shapely.Point(0.5, 0.5), shapely.Point(1.5, 0.5)]
        truth = write_shapes(tmp_path / "points.gpkg", centres, [1, 2])
    accuracy = evaluate(found, truth)
    doubt = accuracy.doubts[0]
    assert doubt.startswith(
        f"{found.name if bare == 'map' else truth.name} names no class, so its numbers were taken"
    )
    assert "1 Water, 2 Trees" in doubt
    files = write_accuracy(accuracy, tmp_path / "out")
    assert json.loads(files[0].read_text())["doubts"] == [doubt]
    picture = draw_confusion(accuracy)
    assert "names no class" in " ".join(picture.get_suptitle().split())
    given: dict[str, Any] = {"map_classes" if bare == "map" else "reference_classes": {1: 1, 2: 2}}
    assert evaluate(found, truth, **given).doubts == ()


def test_bare_numbers_on_both_sides_are_what_they_are(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[1, 2]], np.uint8))
    assert evaluate(found, found).doubts == ()


def test_a_reference_that_the_model_learnt_from_is_told_of(tmp_path: Path) -> None:
    """By its name, which the card of the model keeps, and for the map of a run as well as by a
    model named."""
    truth = write_classes(tmp_path / "plots.tif", np.array([[1, 2]], np.uint8))
    run = tmp_path / "run"
    run.mkdir()
    found = write_classes(run / "classes.tif", np.array([[1, 2]], np.uint8))
    assert evaluate(found, truth).doubts == ()
    assert (
        "trained on labels called plots.tif"
        in evaluate(found, truth, taught=["plots.tif"]).doubts[0]
    )
    assert evaluate(found, truth, taught=["others.tif"]).doubts == ()
    card = load("demo").card
    card = card.model_copy(update={"training": {**card.training, "labels": ["plots.tif"]}})
    content = next(
        path for path in load("demo").folder.iterdir() if path.suffix != ".json"
    ).read_bytes()
    write(tmp_path / "model", card, content)
    (run / "run.json").write_text(
        json.dumps({"segmenter": {"kind": "network", "bundle": str(tmp_path / "model")}})
    )
    assert "trained on labels called plots.tif" in evaluate(found, truth).doubts[0]


# --------------------------------------------------------------------------------------- confidence


def test_confidence_beside_the_map_is_found(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "classes.tif", np.array([[1, 1, 1, 1, 1]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[1, 1, 2, 1, 2]], np.uint8))
    write_classes(
        tmp_path / "confidence.tif", np.array([[90, 90, 90, 90, 255]], np.uint8), nodata=255
    )
    told = evaluate(found, truth).reliability
    assert told is not None
    assert (told.pixels, told.accuracy, told.mean_confidence) == pytest.approx((4, 0.75, 0.9))
    assert told.expected_calibration_error == pytest.approx(0.15)


def test_confidence_of_rules_is_no_probability_and_is_not_judged_as_one(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "classes.tif", np.array([[1, 1, 2, 2]], np.uint8))
    sure = write_classes(
        tmp_path / "confidence.tif", np.array([[90, 90, 90, 90]], np.uint8), nodata=255
    )
    for kind, judged in (
        ("rules", False),
        ("otsu", False),
        ("network", True),
        ("somebody's own", True),
    ):
        (tmp_path / "run.json").write_text(
            json.dumps({"segmenter": {"kind": kind}}), encoding="utf-8"
        )
        assert (evaluate(found, found).reliability is not None) == judged
    (tmp_path / "run.json").write_text(
        json.dumps({"segmenter": {"kind": "rules"}}), encoding="utf-8"
    )
    assert evaluate(found, found, confidence=sure).reliability is not None, "who names it wants it"


def test_confidence_of_another_map_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "classes.tif", np.ones((2, 2), np.uint8))
    write_classes(tmp_path / "confidence.tif", np.ones((3, 2), np.uint8), nodata=255)
    assert evaluate(found, found).reliability is None


# ------------------------------------------------------------------------------ polygons and points


def test_polygons_say_what_lies_where_they_hold_a_pixels_centre(tmp_path: Path) -> None:
    """In another CRS, by name, one class by another name; an edge at 3.4 does not reach the centre
    of column 3."""
    values = np.array([[1, 1, 1, 1, 1, 1]] * 4, np.uint8)
    values[:, 4:] = 2
    found = write_classes(tmp_path / "map.tif", values)
    truth = write_shapes(
        tmp_path / "truth.gpkg",
        [shapely.box(0, 0, 3.4, 2), shapely.box(3.6, 2, 6, 4)],
        ["Water", "wood"],
        "EPSG:4326",
    )
    legend = [(1, "water", "#0000ff"), (2, "Forest", "#00ff00")]
    accuracy = evaluate(found, truth, legend=legend, reference_classes={"wood": "forest"})
    assert confusion(accuracy) == {(1, 1): 6, (2, 2): 4}
    assert "truth.gpkg hold the centre of a pixel" in accuracy.compared
    with pytest.raises(
        InputError, match=r"wood is no class of the map, which has 1=water, 2=Forest; .*wood=VALUE"
    ):
        evaluate(found, truth, legend=legend)
    with pytest.raises(InputError, match="shapes, which have no grid"):
        evaluate(found, truth, legend=legend, on="reference")


@pytest.mark.parametrize("block", [16, 50])
def test_polygons_count_the_same_in_any_blocks(tmp_path: Path, block: int) -> None:
    rng = np.random.default_rng(3)
    found = write_classes(tmp_path / "map.tif", patches(0))
    shapes = [
        shapely.Point(x, y).buffer(r)
        for x, y, r in zip(*rng.random((3, 40)) * [[120], [90], [9]], strict=True)
    ]
    truth = write_shapes(tmp_path / "truth.gpkg", shapes, rng.integers(1, 5, 40).tolist())
    assert evaluate(found, truth, block=block) == evaluate(found, truth)


def test_a_server_that_opens_some_places_alone_compares_polygons(tmp_path: Path) -> None:
    """What they are burnt into lies with the system's temporary files."""
    found = write_classes(tmp_path / "map.tif", np.ones((8, 8), np.uint8))
    truth = write_shapes(tmp_path / "truth.gpkg", [shapely.box(1, 1, 5, 5)], [1])
    with restrict_access(AccessPolicy(roots=(tmp_path,))):
        assert confusion(evaluate(found, truth)) == {(1, 1): 16}
    with (
        restrict_access(AccessPolicy(roots=(tmp_path / "elsewhere",))),
        pytest.raises(InputError, match="outside the folders"),
    ):
        evaluate(found, truth)


def test_every_point_counts_once(tmp_path: Path) -> None:
    """Two of them in one pixel, one without data, one beyond the map."""
    found = write_classes(tmp_path / "map.tif", np.array([[1, 2, 0]], np.uint8))
    spots = [(0.2, 0.3), (0.8, 0.9), (1.5, 0.5), (2.5, 0.5), (7, 0.5)]
    truth = write_shapes(
        tmp_path / "truth.gpkg",
        [shapely.Point(*spot) for spot in spots],
        [1, 2, 2, 1, 1],
        "EPSG:3857",
    )
    accuracy = evaluate(found, truth)
    assert confusion(accuracy) == {(1, 1): 1, (2, 1): 1, (2, 2): 1}
    assert accuracy.boundaries is None


def test_shapes_without_a_class_are_no_reference_and_numbers_may_be_text(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[1, 2, 1, 1]], np.uint8))
    spots = [shapely.Point(col + 0.5, 0.5) for col in range(4)]
    truth = write_shapes(tmp_path / "truth.gpkg", spots, ["01", "02", " ", None])
    accuracy = evaluate(found, truth)
    assert confusion(accuracy) == {(1, 1): 1, (2, 2): 1}
    assert f"{truth}: 2 shapes without a class are left out" in accuracy.notes
    assert confusion(evaluate(found, truth, reference_classes={"02": 3})) == {(1, 1): 1, (3, 2): 1}


def test_a_sample_tells_how_much_there_is(tmp_path: Path) -> None:
    """The map calls a tenth of class 1 class 2. 800 points find out, within their interval; the map
    does not."""
    rng = np.random.default_rng(5)
    truth = np.where(np.arange(200) < 100, 1, 2)[None].repeat(100, 0)
    values = np.where((truth == 1) & (rng.random(truth.shape) < 0.1), 2, truth).astype(np.uint8)
    values[:2] = 3  # never sampled
    found = write_classes(tmp_path / "map.tif", values)
    rows, cols = rng.integers(2, 100, 800), rng.integers(0, 200, 800)
    points = shapely.points(cols + 0.5, rows + 0.5).tolist()
    reference = write_shapes(tmp_path / "truth.gpkg", points, truth[rows, cols].tolist())
    accuracy = evaluate(found, reference)
    assert accuracy.areas is not None
    first, _, third = accuracy.areas.classes
    assert abs(first.area_m2 - 98 * 100 * 100) < first.area_margin_m2
    assert first.area_m2 - first.area_margin_m2 > first.mapped_m2
    assert first.mapped_m2 == pytest.approx((values == 1).sum() * 100, rel=2e-3)
    assert third.samples == 0
    assert accuracy.areas.covered == pytest.approx(0.98)
    assert accuracy.notes[0].startswith(
        "areas speak of 98.00 % of the map: Class 3 has fewer than two"
    )


def test_sparse_polygons_have_no_boundaries_to_compare(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", patches(0))
    truth = write_shapes(
        tmp_path / "truth.gpkg", [shapely.box(5, 5, 30, 30), shapely.box(40, 5, 60, 9)], [1, 2]
    )
    accuracy = evaluate(found, truth)
    assert accuracy.boundaries is None
    assert any(note.startswith("boundaries are not compared") for note in accuracy.notes)


# ---------------------------------------------------------------------------------- what is written


@pytest.mark.slow
def test_tables_and_pictures_hold_the_same_figures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = write_classes(tmp_path / "classes.tif", patches(0))
    write_classes(
        tmp_path / "confidence.tif", rng.integers(0, 101, (90, 120)).astype(np.uint8), nodata=255
    )
    truth = write_classes(tmp_path / "truth.tif", patches(0, size=8))
    accuracy = evaluate(found, truth)
    files = {path.name: path for path in write_accuracy(accuracy, tmp_path / "out" / "deep")}
    assert set(files) == {
        "accuracy.json",
        "accuracy.csv",
        "confusion.csv",
        "confusion.png",
        "reliability.png",
        "report.html",
    }
    page = Reader(files["report.html"].read_text(encoding="utf-8"))
    assert f"{accuracy.overall_accuracy:.3f}" in page.texts
    assert {one.name for one in accuracy.classes} <= set(page.texts)
    assert all((files["report.html"].parent / address).exists() for address in page.addresses)
    assert json.loads(files["accuracy.json"].read_text()) == accuracy.to_dict()
    rows = list(csv.DictReader(files["accuracy.csv"].open()))
    assert [float(row["iou"]) for row in rows] == [one.iou for one in accuracy.classes]
    assert accuracy.boundaries is not None
    assert [float(row["boundary_f1"]) for row in rows] == [
        one.f1 for one in accuracy.boundaries.classes
    ]
    counts = [row[1:] for row in csv.reader(files["confusion.csv"].open())][1:]
    assert [[int(n) for n in row] for row in counts] == [list(row) for row in accuracy.matrix]
    for name in ("confusion.png", "reliability.png"):
        drawn = np.asarray(Image.open(files[name]).convert("RGB"))
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50
    assert sorted(path.name for path in (tmp_path / "out" / "deep").iterdir()) == sorted(files)


def test_the_picture_shows_each_class_in_its_colour(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[1, 2, 2]], np.uint8))
    accuracy = evaluate(found, found, legend=[(1, "Sea", "#123456"), (2, "Land", "#fedcba")])
    files = write_accuracy(accuracy, tmp_path / "out")
    drawn = np.asarray(Image.open(files[-1]).convert("RGB"))
    for colour in ((0x12, 0x34, 0x56), (0xFE, 0xDC, 0xBA)):
        assert (drawn == colour).all(-1).sum() > 500


# ----------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("values", "west", "says"),
    [
        (np.ones((2, 2), np.float32), 0, "a class raster holds integers"),
        (np.ones((2, 2), np.uint8), 9_000, "share no labelled pixel"),
    ],
)
def test_what_cannot_be_compared_is_said(
    tmp_path: Path, values: np.ndarray, west: float, says: str
) -> None:
    found = write_classes(tmp_path / "map.tif", np.ones((2, 2), np.uint8))
    with pytest.raises(InputError, match=says):
        evaluate(found, write_classes(tmp_path / "truth.tif", values, west=west))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tolerance": -1}, "0 or more metres"),
        ({"tolerance": 1e5}, "more than 256 pixels of 10 m"),
        ({"bins": 0}, "--bins 0"),
        ({"map_classes": {"Moor": 1}}, "--map-classes: there is no class Moor"),
        ({"confidence": "missing.tif"}, "missing.tif does not exist; check the path"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    found = write_classes(tmp_path / "map.tif", np.ones((2, 2), np.uint8))
    with pytest.raises(InputError, match=says) as caught:
        evaluate(found, found, **settings)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_regrouped_is_refused(tmp_path: Path) -> None:
    """A class is there where pixels or the legend have it; what is declared no data may be left out
    once more."""
    values = np.array([[1, 2, 3, 255]], np.uint8)
    found = write_classes(tmp_path / "map.tif", values, nodata=255)
    truth = write_shapes(
        tmp_path / "truth.gpkg", [shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1)], ["1", "wood"]
    )
    known: dict[str, Any] = {"legend": [(9, "Moor", "#112233")]}
    for reference, settings, says in (
        (
            found,
            {"map_classes": {9: 1}},
            r"--map-classes 9=…: .*map\.tif has no such class; it has 1, 2, 3$",
        ),
        (found, {"map_classes": {8: 2, 9: None}}, r"--map-classes 8=…, 9=…"),
        (found, {"map_classes": {255: 1}}, r"--map-classes 255=…"),
        (
            found,
            {"reference_classes": {9: 1}} | known,
            r"--reference-classes 9=…: .*map\.tif .* it has 1, 2, 3$",
        ),
        (
            truth,
            {"reference_classes": {"wod": 2}},
            r"--reference-classes wod=…: .*truth\.gpkg .* it has 1, wood$",
        ),
        (
            found,
            {"column": "class"},
            r"map\.tif is a raster and has no column class; leave --column out",
        ),
    ):
        with pytest.raises(InputError, match=says):
            evaluate(found, reference, **settings)
    moved = evaluate(
        found, found, map_classes={9: 1, 3: 2, 255: None}, reference_classes={3: 2}, **known
    )
    assert confusion(moved) == {(1, 1): 1, (2, 2): 2}


def test_a_table_of_classes_may_know_more_than_one_map_holds(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[1, 2, 3]], np.uint8))
    truth = write_shapes(tmp_path / "truth.gpkg", [shapely.box(0, 0, 1, 1)], ["wood"])
    of_map = evaluate(found, found, map_classes={3: 2, 9: 1}, reference_classes={3: 2, 8: 1})
    assert confusion(of_map) == {(1, 1): 1, (2, 2): 2}
    assert [note.partition(":")[0] for note in of_map.notes] == [
        "--map-classes 9=…",
        "--reference-classes 8=…",
    ]
    of_shapes = evaluate(found, truth, reference_classes={"wood": 1, "moor": 2})
    assert any(note.startswith("--reference-classes moor=…: ") for note in of_shapes.notes)


def test_of_several_bands_none_is_judged_silently(tmp_path: Path) -> None:
    ones = np.ones((2, 2), np.uint8)
    one = write_classes(tmp_path / "one.tif", ones)
    three = write_classes(tmp_path / "three.tif", ones, beside=(ones, ones))
    says = r"three\.tif holds 3 bands, .*: gdal_translate -b 1 \S+three\.tif one\.tif$"
    for arguments, settings in (
        ((three, one), {}),
        ((one, three), {}),
        ((one, one), {"mask": three}),
        ((one, one), {"confidence": three}),
    ):
        with pytest.raises(InputError, match=says):
            evaluate(*arguments, **settings)
    found = write_classes(tmp_path / "classes.tif", ones)
    write_classes(tmp_path / "confidence.tif", ones, beside=(ones,))
    assert evaluate(found, one).reliability is None


@pytest.mark.parametrize("shift", [0, 3])
def test_a_raster_with_alpha_holds_where_that_says(tmp_path: Path, shift: float) -> None:
    alpha = np.array([[255, 255, 255, 0]], np.uint8)
    values = np.array([[1, 2, 1, 2]], np.uint8)
    found = write_classes(tmp_path / "map.tif", values, nodata=None, beside=(alpha,), ALPHA="YES")
    truth = write_classes(
        tmp_path / "truth.tif", values, west=shift, nodata=None, beside=(alpha,), ALPHA="YES"
    )
    for one, other in ((found, truth), (truth, found)):
        assert confusion(evaluate(one, other)) == {(1, 1): 2, (2, 2): 1}


def test_a_raster_of_measurements_is_no_class_raster(tmp_path: Path) -> None:
    heights = write_classes(
        tmp_path / "heights.tif", np.arange(2500, dtype=np.int16).reshape(50, 50)
    )
    with pytest.raises(InputError, match="more than 1024 classes"):
        evaluate(heights, heights, block=20)


def test_confidence_above_a_hundred_is_none(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.ones((2, 2), np.uint8))
    odd = write_classes(tmp_path / "odd.tif", np.full((2, 2), 180, np.uint8), nodata=None)
    with pytest.raises(InputError, match=r"odd.tif holds 180 at rows 0–1"):
        evaluate(found, found, confidence=odd)
    with pytest.raises(InputError, match="holds int16; a confidence is uint8"):
        evaluate(
            found, found, confidence=write_classes(tmp_path / "int.tif", np.ones((2, 2), np.int16))
        )


def test_real_polygons_are_the_raster_others_made_of_them(shared_data: Path) -> None:
    """Training polygons of Chiapas, and the raster that came with them: the same 718 pixels."""
    folder = shared_data / "landsat7_chiapas_polygons"
    accuracy = evaluate(folder / "training_data.gtif", folder / "training_data.shp", column="id")
    assert accuracy.overall_accuracy == 1
    assert sum(map(sum, accuracy.matrix)) == 718


def test_a_boundary_of_the_whole_is_that_of_its_blocks(tmp_path: Path) -> None:
    """What is counted block by block is what the whole raster's boundary pixels are."""
    values = patches(4)
    path = write_classes(tmp_path / "map.tif", values)
    found = evaluate(path, path, block=20).boundaries
    assert found is not None
    assert sum(one.map_pixels for one in found.classes) == boundary(values, values > 0).sum()


# --------------------------------------------------------------------------------- the command line


def landweave(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_the_command_prints_a_table_and_writes_what_was_asked(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", patches(0))
    truth = write_classes(tmp_path / "truth.tif", patches(0, 50, 50, 4), pixel=30)
    done = landweave(
        found, truth, "--out", tmp_path / "out", "--workers", 0,
        "--map-classes", "4=3", "--reference-classes", "4=3, 2=", "--tolerance", 45,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    expected = evaluate(
        found, truth, map_classes={4: 3}, reference_classes={4: 3, 2: None}, tolerance=45
    )
    assert json.loads((tmp_path / "out" / "accuracy.json").read_text()) == expected.to_dict()
    lines = done.stdout.splitlines()
    assert (
        "compared on the grid of map.tif (10 m), truth.tif (30 m) resampled by nearest neighbour"
        in lines
    )
    assert expected.boundaries is not None
    assert f"boundary F1 within 45 m: mean {expected.boundaries.mean_f1:.3f}" in lines
    plain = landweave(
        found, truth, "--json", "--workers", 0, "--map-classes", "4=3", "--reference-classes",
        "4=3",
        "--reference-classes", "2=", "--tolerance", 45,
    )  # fmt: skip
    assert json.loads(plain.stdout) == expected.to_dict() | {"files": []}
    assert any(
        line.startswith("Class 3 ") and f"{expected.classes[2].iou:.3f}" in line for line in lines
    )


def test_the_command_shows_estimated_areas(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[1, 1, 2, 2]] * 3, np.uint8))
    spots = [shapely.Point(col + 0.5, row + 0.5) for col in range(4) for row in range(3)]
    truth = write_shapes(tmp_path / "truth.gpkg", spots, [1] * 6 + [2] * 5 + [1])
    done = landweave(found, truth, "--workers", 0)
    assert done.exit_code == 0, done.output
    assert "compared at 12 points of truth.gpkg" in done.stdout
    assert "overall accuracy 91.7 ± 16.3 %" in done.stdout  # 1.96 × √(¼ · (5/6 · 1/6) / 5)


def test_the_command_says_before_it_counts_that_it_could_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = write_classes(tmp_path / "map.tif", np.ones((2, 2), np.uint8))
    monkeypatch.setattr(
        "flows.assessment.evaluate.evaluate", lambda *_, **__: pytest.fail("it was counted")
    )
    for out in (found, found / "deeper"):
        done = landweave(found, found, "--out", out, "--workers", 0)
        assert isinstance(done.exception, InputError)
        assert (
            str(done.exception)
            == f"cannot write to {out}: {found} is a file; name another folder with --out"
        )


@pytest.mark.parametrize("broken", ["map.tif", "truth.tif"])
@pytest.mark.parametrize(
    ("content", "says"), [(None, "does not exist"), (b"no raster", "is not a raster")]
)
def test_a_raster_that_is_none_is_named(
    tmp_path: Path, broken: str, content: bytes | None, says: str
) -> None:
    for name in ("map.tif", "truth.tif"):
        write_classes(tmp_path / name, np.ones((2, 2), np.uint8))
    (tmp_path / broken).unlink()
    if content:
        (tmp_path / broken).write_bytes(content)
    with pytest.raises(InputError, match=rf"{broken} {says}"):
        evaluate(tmp_path / "map.tif", tmp_path / "truth.tif")
    done = landweave(tmp_path / "map.tif", tmp_path / "truth.tif", "--workers", 0)
    assert isinstance(done.exception, InputError)
    assert f"{broken} {says}" in str(done.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--map-classes", "4"),
        ("--tolerance", "-3"),
        ("--bins", "0"),
        ("--out", "/dev/null/figures", "--workers", "0"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    found = write_classes(tmp_path / "map.tif", np.ones((2, 2), np.uint8))
    done = landweave(found, found, *arguments)
    assert isinstance(done.exception, InputError)
    assert arguments[0] in str(done.exception)
    assert "\n" not in str(done.exception)


# --------------------------------------------------------------------------------- names of classes


def test_regrouped_classes_can_be_given_a_new_name(tmp_path: Path) -> None:
    values = np.array([[1, 2, 5, 6, 6, 9]], np.uint8)
    found, truth = (
        write_classes(tmp_path / "map.tif", values),
        write_classes(tmp_path / "truth.tif", values),
    )
    legend = [
        (1, "Water", "#0000ff"),
        (2, "Trees", "#00ff00"),
        (5, "Bare", "#aa8866"),
        (6, "Town", "#ff0000"),
    ]
    accuracy = evaluate(
        found, truth, legend=legend, tolerance=0, map_classes={5: "Sealed", "town": "Sealed",
        9: "Other"},
        reference_classes={6: "Sealed"},
    )  # fmt: skip
    assert [(one.value, one.name) for one in accuracy.classes] == [
        (1, "Water"), (2, "Trees"), (5, "Sealed"), (9, "Other"),
    ]  # fmt: skip
    assert accuracy.overall_accuracy == 1
    assert not [note for note in accuracy.notes if "new class" in note]
    slip = evaluate(found, truth, legend=legend, tolerance=0, map_classes={5: "Watter"})
    assert "--map-classes: Watter is a new class; did you mean Water?" in slip.notes
    with pytest.raises(InputError, match="--reference-classes: the map has no class Sealed"):
        evaluate(found, truth, legend=legend, reference_classes={6: "Sealed"})


def test_the_column_that_holds_the_names_is_told(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.ones((4, 4), np.uint8))
    shapes = [shapely.box(0, 0, 2, 4), shapely.box(2, 0, 4, 4)]
    path = write_shapes(tmp_path / "truth.gpkg", shapes, [1, 2])
    frame = geopandas.read_file(path)
    frame["name"] = ["Forest", "lake"]
    frame.to_file(path)
    with pytest.raises(
        InputError, match=r"it has 1, 2; its column name has: take that with --column name"
    ):
        evaluate(found, path, reference_classes={"forest": 1, "lake": 2})
    with pytest.raises(InputError, match=r"it has 1, 2$"):
        evaluate(found, path, reference_classes={"desert": 1})
