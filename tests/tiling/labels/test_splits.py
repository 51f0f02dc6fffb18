"""Splits: whole blocks, shapes or scenes, each class on both sides where it can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt

from tests.tiling.labels.test_open_labels import GRID, UTM, box, write_classes, write_shapes
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.labels.base import Labels
from tiling.labels.open_labels import open_labels
from tiling.labels.splits import TEST, TRAIN, VALIDATION, split_labels, stratify

WHOLE = Window.of_shape(40, 60)


@pytest.fixture
def labels(tmp_path: Path) -> Labels:
    rng = np.random.default_rng(3)
    codes = (
        rng.choice(np.array([1, 1, 1, 1, 2, 2, 3], np.uint8), (5, 8))
        .repeat(8, 0)
        .repeat(8, 1)[:, :60]
    )
    return open_labels(write_classes(tmp_path / "l.tif", codes), GRID)


def test_parts_are_whole_blocks_apart_by_the_buffer(labels: Labels) -> None:
    split = split_labels([labels], "blocks", buffer=2).scenes[0]
    classes, part = split.read(WHOLE)
    units = split.units(WHOLE)
    for unit in np.unique(units):
        assert set(np.unique(part[units == unit])) in ({VALIDATION}, {TRAIN}, {0, TRAIN}, {0})
    near = distance_transform_cdt(part != VALIDATION, "chessboard") <= 2
    assert not np.any(part[near] == TRAIN)
    assert np.any(part == TRAIN)
    assert np.any(part == VALIDATION)
    assert np.array_equal(classes, labels.read(WHOLE))


def test_a_window_has_the_parts_of_the_whole(labels: Labels) -> None:
    split = split_labels([labels]).scenes[0]
    classes, part = split.read(WHOLE)
    for window in WHOLE.blocks(11):
        assert np.array_equal(split.read(window)[0], classes[window.within(WHOLE)])
        assert np.array_equal(split.read(window)[1], part[window.within(WHOLE)])


def test_every_class_is_on_both_sides(labels: Labels) -> None:
    classes, part = split_labels([labels]).scenes[0].read(WHOLE)
    for side in (TRAIN, VALIDATION):
        assert set(np.unique(classes[part == side])) == {1, 2, 3}


def test_the_seed_alone_decides(labels: Labels) -> None:
    def held(seed: int) -> np.ndarray:
        return split_labels([labels], seed=seed).scenes[0].read(WHOLE)[1]

    assert np.array_equal(held(1), held(1))
    assert any(not np.array_equal(held(1), held(seed)) for seed in range(2, 6))


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 60), min_size=3, max_size=3), min_size=2, max_size=40),
    st.integers(0, 5),
)
def test_stratified_keeps_its_promise(table: list[list[int]], seed: int) -> None:
    counts = {(0, n): np.array([0, *row] + [0] * 252) for n, row in enumerate(table) if any(row)}
    held = stratify(counts, 0.2, seed)
    inside = np.sum([counts[unit] > 0 for unit in held] or [np.zeros(256, bool)], axis=0)
    outside = np.sum(
        [found > 0 for unit, found in counts.items() if unit not in held] or [np.zeros(256, bool)],
        axis=0,
    )
    if not counts or len(counts) < 2:
        assert not held
        return
    # What trains always comes first.
    for value in (1, 2, 3):
        if inside[value] + outside[value] > 1:
            assert outside[value]


def test_of_many_units_about_the_share_is_held() -> None:
    rng = np.random.default_rng(0)
    counts = {(0, n): np.array([0, *rng.integers(0, 100, 3)] + [0] * 252) for n in range(200)}
    held = sum(counts[unit] for unit in stratify(counts, 0.2))
    assert np.allclose(held[1:4] / sum(counts.values())[1:4], 0.2, atol=0.02)


def test_few_polygons_are_split_whole_and_each_class_of_two_validates(tmp_path: Path) -> None:
    shapes = [box(2 + 12 * (n // 6), 2 + 10 * (n % 6), 3 + n % 5, 4) for n in range(18)]
    kinds = ["a"] * 10 + ["b"] * 5 + ["c"] * 2 + ["d"]
    path = write_shapes(tmp_path / "s.gpkg", shapes, label=kinds)
    found = open_labels(path, GRID)
    splitting = split_labels([found])
    classes, part = splitting.scenes[0].read(WHOLE)
    assert set(np.unique(classes[part == VALIDATION])) == {1, 2, 3}
    assert set(np.unique(classes[part == TRAIN])) == {1, 2, 3, 4}
    assert splitting.notes == ("d is in one part of the split only: too few shapes",)
    owners = found.owners(WHOLE)  # type: ignore[attr-defined]
    assert all(len(np.unique(part[owners == n])) == 1 for n in range(1, 19))


def test_real_polygons_validate_each_class_that_has_two(shared_data: Path) -> None:
    from tiling.scene.from_files import open_scene

    scene = open_scene(
        [str(shared_data / "landsat7_chiapas_polygons" / "LE70220491999322EDC01_stack.gtif")]
    )
    found = open_labels(
        shared_data / "landsat7_chiapas_polygons" / "training_data.shp", scene.geobox
    )
    classes, part = split_labels([found]).scenes[0].read(scene.window)
    assert (
        set(np.unique(classes[part == VALIDATION]))
        == set(np.unique(classes[part == TRAIN]))
        == {1, 2, 3, 4, 5}
    )


def test_a_given_raster_rules_and_validation_comes_out_of_its_training_part(
    tmp_path: Path, labels: Labels
) -> None:
    given = np.zeros((40, 60), np.uint8)
    given[:, :36], given[:, 40:] = 1, 2
    path = write_classes(tmp_path / "split.tif", given)
    _, part = split_labels([labels], str(path)).scenes[0].read(WHOLE)
    assert np.array_equal(part == TEST, given == 2)
    assert set(np.unique(part[given == 1])) == {0, TRAIN, VALIDATION}
    assert not part[given == 0].any()
    _, other = (
        split_labels([labels], str(path), values={"train": 2, "validation": 1})
        .scenes[0]
        .read(WHOLE)
    )
    assert np.array_equal(other, np.choose(given, [0, VALIDATION, TRAIN]))


def test_whole_scenes_are_held(labels: Labels) -> None:
    splitting = split_labels([labels] * 4, "scenes")
    parts = [set(np.unique(split.read(WHOLE)[1])) for split in splitting.scenes]
    assert sorted(map(tuple, parts)) == [(TRAIN,)] * 3 + [(VALIDATION,)]


def test_where_nothing_can_validate_it_says_so(tmp_path: Path) -> None:
    path = write_shapes(tmp_path / "s.gpkg", [box(0, 0, 5, 5), box(20, 20, 5, 5)], label=["a", "b"])
    splitting = split_labels([open_labels(path, GRID)])
    assert "nothing validates: no class is in two units" in splitting.notes[0]
    assert set(np.unique(splitting.scenes[0].read(WHOLE)[1])) == {0, TRAIN}


def test_random_pixels_are_refused_with_the_reason(labels: Labels) -> None:
    with pytest.raises(InputError, match="neighbouring pixels are nearly the same"):
        split_labels([labels], "random")
    with pytest.raises(InputError, match="neither a file nor one of blocks, shapes, scenes"):
        split_labels([labels], "blcks")
    with pytest.raises(InputError, match="is a raster; use blocks"):
        split_labels([labels], "shapes")


def test_a_split_raster_without_training_is_refused(tmp_path: Path, labels: Labels) -> None:
    path = write_classes(tmp_path / "split.tif", np.full((40, 60), 7, np.uint8))
    with pytest.raises(InputError, match="marks no labelled pixel for training"):
        split_labels([labels], str(path))


def test_a_split_raster_has_one_band_and_a_place(tmp_path: Path, labels: Labels) -> None:
    given = np.ones((40, 60), np.uint8)
    two = write_classes(tmp_path / "two.tif", given, second=given)
    lost = write_classes(tmp_path / "lost.tif", given, crs=None)
    away = write_classes(tmp_path / "away.tif", given, west=900_000)
    for path, said in (
        (two, r"two\.tif holds 2 bands, .*: gdal_translate -b 1 "),
        (lost, r"lost\.tif has no CRS; say which it is: rio edit-info --crs"),
        (away, r"away\.tif lies outside the scene"),
    ):
        with pytest.raises(InputError, match=said):
            split_labels([labels], str(path))


def test_an_alpha_band_beside_the_split_says_where_it_holds(tmp_path: Path, labels: Labels) -> None:
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, :30] = 255
    path = write_classes(
        tmp_path / "split.tif", np.ones((40, 60), np.uint8), second=alpha, ALPHA="YES"
    )
    part = split_labels([labels], str(path)).scenes[0].parts(WHOLE)
    assert np.array_equal(part == TRAIN, alpha > 0)


def test_split_values_name_parts_of_a_split_raster(tmp_path: Path, labels: Labels) -> None:
    path = write_classes(tmp_path / "split.tif", np.full((40, 60), 9, np.uint8))
    with pytest.raises(
        InputError,
        match=r"--split-values tset=…: there is no such part; .* train, validation, test$",
    ):
        split_labels([labels], str(path), values={"train": 9, "tset": 18})
    for how in ("", "blocks"):
        with pytest.raises(
            InputError, match=r"--split-values train=9: there is no split raster .* --split$"
        ):
            split_labels([labels], how, values={"train": 9})


def test_many_points_are_split_by_block(tmp_path: Path) -> None:
    import geopandas

    rng = np.random.default_rng(0)
    rows, cols = rng.uniform(0, 40, 900), rng.uniform(0, 60, 900)
    points = [shapely.Point(GRID.affine @ (col, row)) for row, col in zip(rows, cols, strict=True)]
    path = tmp_path / "p.gpkg"
    geopandas.GeoDataFrame(
        {"label": (cols > 30).astype(int) + 1}, geometry=points, crs=UTM
    ).to_file(path)
    splitting = split_labels([open_labels(path, GRID)])
    assert "blocks" in splitting.how
