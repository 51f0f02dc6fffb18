"""A finished run: what it holds is read when it is asked for, from a disk or from a store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import landweave as lw
from tests.landweave.conftest import Demo
from tests.s3 import BUCKET, Proxy, s3
from tests.scenes import draw_scene, read


@pytest.fixture(scope="module")
def store() -> Iterator[Proxy]:
    with s3() as proxy:
        yield proxy


def check_run(run: lw.Run, classes: np.ndarray) -> None:
    """All that can be asked of a run."""
    assert np.array_equal(run.classes.values, classes)
    assert run.classes.chunks
    assert run.classes.odc.crs.epsg == 32633
    assert run.classes.attrs["flag_meanings"].split()[0] == "Water"
    assert run.confidence.shape == run.classes.shape
    assert set(run.polygons.class_name) <= {name for _, name, _ in run.legend.rows}
    assert run.polygons.crs.to_epsg() == 32633
    assert run.areas.share.sum() == pytest.approx(1)
    assert run.areas.pixels.sum() == np.count_nonzero(classes)
    assert run.quicklook.size[0] > 100


def test_a_run_is_opened_as_it_was_made(demo: Demo) -> None:
    classes = read(Path(demo.run.folder) / "classes.tif")
    check_run(demo.run, classes)
    check_run(lw.open_run(demo.run.folder), classes)
    assert lw.open_run(str(demo.run.folder)).record == demo.run.record
    assert lw.open_run(demo.run).legend == demo.run.legend


@pytest.mark.slow
def test_a_run_on_a_store_is_a_run(store: Proxy, tmp_path: Path) -> None:
    import rioxarray

    place = f"s3://{BUCKET}/runs/one"
    array = rioxarray.open_rasterio(draw_scene(tmp_path / "scene.tif", 64, 64), chunks=32)
    made = lw.segment(array, place, workers=0)
    (file,) = made.record["scene"]["files"]
    assert file["path"].startswith(f"{place}/arrays/")
    here = lw.segment(tmp_path / "scene.tif", tmp_path / "run", workers=0)
    check_run(lw.open_run(place), here.classes.values)
    assert (
        lw.evaluate(lw.open_run(place), here.folder / "classes.tif", workers=0).overall_accuracy
        == 1
    )


def test_a_folder_without_a_run_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(lw.InputError, match="holds no finished run"):
        lw.open_run(tmp_path)
    (tmp_path / "run.json").write_text('{"request": 1}')
    with pytest.raises(lw.InputError, match="holds no finished run"):
        lw.open_run(tmp_path)


def test_a_product_that_was_not_made_is_named(demo: Demo, tmp_path: Path) -> None:
    run = lw.segment(demo.scene, tmp_path / "run", products=["classes"], workers=0)
    with pytest.raises(lw.InputError, match=r"holds no landcover.gpkg; ask for it with products="):
        _ = run.polygons


def test_a_run_says_what_it_is_in_a_line_and_as_a_page(demo: Demo, tmp_path: Path) -> None:
    assert repr(demo.run).startswith("<Run scene: Trees and dense vegetation ")
    assert "data:image/png;base64," in demo.run._repr_html_()
    shutil.copy(Path(demo.run.folder) / "run.json", tmp_path)
    assert "data:image" not in lw.open_run(tmp_path)._repr_html_()
