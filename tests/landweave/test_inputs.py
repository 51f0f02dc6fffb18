"""What a person hands over becomes what the pipeline takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import landweave as lw
import segmentation.errors
from landweave.inputs import paths_of, place_at, raster_of, segmenter_of, unify_errors
from tests.landweave.conftest import Demo
from tests.stac import asset, catalogue, item


def test_a_scene_says_what_it_is(demo: Demo) -> None:
    scene = lw.open_scene(str(demo.scene), date="2024-06-03")
    assert scene.shape == (256, 256)
    assert scene.bands[3] == "nir"
    assert scene.crs.epsg == 32633
    assert (
        repr(scene)
        == "<Scene scene: 256 × 256 px, blue, green, red, nir, swir16, swir22, 2024-06-03>"
    )
    assert "EPSG:32633" in scene._repr_html_()
    assert scene.data.sel(band="nir").odc.geobox == scene.geobox


def test_a_scene_that_is_open_takes_more_settings(demo: Demo) -> None:
    scene = lw.open_scene(demo.scene)
    assert lw.open_scene(scene, bands={"red": 3}).bands == ("red",)


def test_paths_are_text_with_their_bands_before_them() -> None:
    assert paths_of(Path("a.tif")) == ("a.tif",)
    assert paths_of({"blue": Path("B02.tif"), "nir": "B08.tif"}) == ("blue=B02.tif", "nir=B08.tif")
    assert paths_of([Path("a.tif"), "leaf_on=b.tif"]) == ("a.tif", "leaf_on=b.tif")


def test_the_raster_of_a_run_is_its_classes(tmp_path: Path) -> None:
    assert raster_of(tmp_path) == str(tmp_path / "classes.tif")
    assert raster_of(tmp_path / "map.tif") == str(tmp_path / "map.tif")
    assert raster_of("s3://bucket/run") == "s3://bucket/run/classes.tif"
    assert raster_of("s3://bucket/map.tif") == "s3://bucket/map.tif"


def test_what_is_read_from_a_disk_is_said_not_to_be_there() -> None:
    with pytest.raises(lw.InputError, match="s3://bucket/run is on an object store"):
        lw.vectorise("s3://bucket/run", "out.gpkg")


def test_a_scene_is_looked_for(demo: Demo, tmp_path: Path) -> None:
    bands = ("blue", "green", "red", "nir", "swir16", "swir22")
    here = item("one", {"data": asset(demo.scene, bands, scale=1e-4, offset=0, nodata=0)})
    search = {"catalogue": catalogue(tmp_path, [here]), "when": "2024-05"}
    scene = lw.open_scene(search=search)
    assert (scene.bands, str(scene.date)) == (bands, "2024-05-03")
    run = lw.segment(scene, tmp_path / "run", workers=0)
    assert (run.classes.values == demo.run.classes.values).all()
    with pytest.raises(lw.InputError, match="and a search: give a scene, or what to look for"):
        lw.open_scene(demo.scene, search=search)


def test_a_url_is_a_place_on_a_store() -> None:
    assert str(place_at("s3://bucket/run/")) == "s3://bucket/run"
    assert place_at("run") == Path("run")


def test_a_folder_that_is_called_as_a_kind_is_a_model_where_it_is_a_path() -> None:
    with pytest.raises(lw.InputError, match=r"there is no segmenter '.*/rules'"):
        segmenter_of(Path("rules"), {})
    assert segmenter_of("rules", {}) == lw.segmenters.Rules()


def test_a_mistake_of_either_room_is_the_same_error() -> None:
    @unify_errors
    def fail() -> None:
        raise segmentation.errors.InputError("no such band")

    with pytest.raises(lw.InputError, match="no such band"):
        fail()


def test_a_script_need_not_ask_whether_it_is_the_main_program(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from landweave.inputs import pool_of\n"
        "with pool_of(1, 1, 0) as pool:\n"
        "    print(list(pool.map(abs, [-1, 2])))\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "[1, 2]\n")
