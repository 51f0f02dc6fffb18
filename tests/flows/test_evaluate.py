from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from flows.evaluate import evaluate
from tiling.errors import Mistake


def write_classes(
    path: Path, values: np.ndarray, *, west: float = 0, pixel: float = 10, nodata: int | None = 0
) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype,
        crs="EPSG:32633", transform=Affine(pixel, 0, 500_000 + west, 0, -pixel, 5_300_000), nodata=nodata,
    ) as target:  # fmt: skip
        target.write(values, 1)
    return path


def test_a_map_agrees_with_itself(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4, (50, 60), np.uint8)
    accuracy = evaluate(write_classes(tmp_path / "a.tif", values), write_classes(tmp_path / "b.tif", values))
    assert accuracy.overall_accuracy == accuracy.mean_iou == accuracy.kappa == 1
    assert sum(row["support"] for row in accuracy.to_dict()["classes"]) == (values > 0).sum()


def test_one_wrong_pixel_in_four_counts_as_that(tmp_path: Path) -> None:
    found = write_classes(tmp_path / "map.tif", np.array([[1, 1, 2, 2]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[1, 2, 2, 2]], np.uint8))
    accuracy = evaluate(found, truth)
    assert accuracy.overall_accuracy == 0.75
    assert [row["iou"] for row in accuracy.to_dict()["classes"]] == [1 / 2, 2 / 3]


def test_the_reference_is_laid_over_the_map_where_it_lies(tmp_path: Path) -> None:
    """A coarser reference that covers only the eastern half, shifted: each map pixel is judged by what lies there."""
    found = write_classes(tmp_path / "map.tif", np.array([[3, 1, 1, 2], [3, 1, 1, 2]], np.uint8))
    truth = write_classes(tmp_path / "truth.tif", np.array([[1, 2]], np.uint8), west=20, pixel=20)
    accuracy = evaluate(found, truth)
    assert accuracy.overall_accuracy == 0.5
    assert sum(row["support"] for row in accuracy.to_dict()["classes"]) == 4


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


@pytest.mark.parametrize(
    ("values", "west", "says"),
    [
        (np.ones((2, 2), np.float32), 0, "a class raster holds integers"),
        (np.ones((2, 2), np.uint8), 9_000, "share no labelled pixel"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, values: np.ndarray, west: float, says: str) -> None:
    found = write_classes(tmp_path / "map.tif", np.ones((2, 2), np.uint8))
    with pytest.raises(Mistake, match=says):
        evaluate(found, write_classes(tmp_path / "truth.tif", values, west=west))
