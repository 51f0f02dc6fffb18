"""Maps from Python: the same as from the command line, from files and arrays alike."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr

import landweave as lw
from flows.requests.request import Request
from flows.requests.source import Source
from tests.conftest import Run
from tests.landweave.conftest import Demo
from tests.scenes import draw_scene

NAMED = {"source", "out", "segmenter"}
SEARCHED = {"paths", "search", "bbox", "assets"}
"""What `open_scene` alone takes."""


def settings_of(function: Any) -> Mapping[str, Any]:
    """Names and defaults of a function's keywords."""
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


def test_each_field_of_a_request_is_an_argument_that_leaves_its_default_to_the_request() -> None:
    fields = {*Request.model_fields} - NAMED | {*Source.model_fields} - SEARCHED
    asked = settings_of(lw.segment)
    assert fields == asked.keys() - {"segmenter", "cluster", "workers", "progress"}
    assert {asked[name] for name in fields} == {None}
    assert settings_of(lw.plan).items() <= asked.items()
    composed = {"windows", "window_method"}  # made on disk, so they need the folder of a run
    assert settings_of(lw.open_scene).keys() == {*Source.model_fields} - {"paths"} - composed


def test_a_map_is_that_of_the_command_line(demo: Demo, tmp_path: Path, landweave: Run) -> None:
    assert landweave("segment", demo.scene, "--out", tmp_path / "run", "--workers", 0)[0] == 0
    assert (tmp_path / "run/classes.tif").read_bytes() == (
        demo.run.folder / "classes.tif"
    ).read_bytes()


def forms(scene: Path) -> dict[str, xr.DataArray | xr.Dataset]:
    """A scene as people hold it."""
    array = rioxarray.open_rasterio(scene)
    chunked = rioxarray.open_rasterio(scene, chunks={"band": 1, "x": 50, "y": 70})
    variables = chunked.assign_coords(band=list(array.attrs["long_name"])).to_dataset("band")
    variables.encoding["source"] = "scene"
    moment = array.assign_coords(time=np.datetime64("NaT", "ns"))
    return {
        "in memory": array,
        "read by blocks": chunked,
        "chunked anew": chunked.chunk({"band": -1, "y": 33, "x": -1}),
        "a variable a band": variables,
        "a moment": moment.expand_dims("time").rename("scene"),
    }


@pytest.mark.parametrize(
    "form", ["in memory", "read by blocks", "chunked anew", "a variable a band", "a moment"]
)
def test_the_same_pixels_give_the_same_bytes_from_a_file_and_from_any_array(
    demo: Demo, tmp_path: Path, form: str
) -> None:
    run = lw.segment(forms(demo.scene)[form], tmp_path, workers=0)
    for name in ("classes.tif", "confidence.tif"):
        assert (run.folder / name).read_bytes() == (demo.run.folder / name).read_bytes()
    (file,) = run.record["scene"]["files"]
    assert Path(file["path"]).parent.parent == tmp_path / "arrays"


def test_the_same_array_goes_on_with_its_run_and_another_is_refused(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 120, 100)
    array = rioxarray.open_rasterio(scene, chunks={"x": 64, "y": 64})
    lw.segment(array, tmp_path / "run", workers=0, shard=64)
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/parts").iterdir()}
    lw.segment(array.chunk({"x": 17, "y": 90}), tmp_path / "run", workers=0, shard=64)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run/parts").iterdir()} == parts
    with pytest.raises(lw.InputError, match="replace it with --fresh"):
        lw.segment(array + np.uint16(1), tmp_path / "run", workers=0)
    lw.segment(array + np.uint16(1), tmp_path / "run", workers=0, fresh=True)
    assert len([*(tmp_path / "run/arrays").iterdir()]) == 1


def test_an_array_takes_what_a_person_says_of_it(tmp_path: Path) -> None:
    with rasterio.open(draw_scene(tmp_path / "scene.tif", 64, 64)) as source:
        pixels = source.read()
    bare = rioxarray.open_rasterio(tmp_path / "scene.tif").drop_attrs(deep=False)
    array = bare.copy(data=da.from_array(pixels, chunks=(6, 32, 32)))
    bands = {"blue": 1, "green": 2, "red": 3, "nir": 4}
    run = lw.segment(
        array,
        tmp_path / "run",
        segmenter="otsu",
        index="NDVI",
        bands=bands,
        nodata=0,
        date="2024-06-03",
        workers=0,
    )
    assert run.record["scene"]["date"] == "2024-06-03"
    assert run.record["segmenter"]["index"] == "NDVI"
    assert np.array_equal(run.classes.values == 0, pixels[2] == 0)


def test_files_come_as_a_path_as_paths_as_a_mapping_and_as_a_scene(tmp_path: Path) -> None:
    whole = draw_scene(tmp_path / "scene.tif", 64, 64)
    with rasterio.open(whole) as source:
        for band, name in enumerate(("green", "red", "nir"), start=2):
            profile = {**source.profile, "count": 1}
            with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as target:
                target.write(source.read(band), 1)
    files = {name: tmp_path / f"{name}.tif" for name in ("green", "red", "nir")}
    plans = [
        lw.plan(scene, segmenter=lw.segmenters.Otsu(index="NDVI"))
        for scene in (
            whole,
            files,
            [*files.values()],
            lw.open_scene(files),
            [f"{n}={p}" for n, p in files.items()],
        )
    ]
    assert {tuple(plan.facts["used"]) for plan in plans} == {("nir", "red")}
    assert all("otsu" in repr(plan) for plan in plans)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"segmenter": "otsu", "index": "NDXI"}, "NDXI is neither an index nor a band"),
        (
            {"segmenter": "rules", "watr": 0.1},
            "segmenter rules has no setting watr; did you mean water",
        ),
        ({"segmenter": "ruls"}, "there is no segmenter 'ruls'"),
        (
            {"segmenter": lw.segmenters.Otsu(), "index": "NDWI"},
            r"settings stand beside a name; give them to Otsu\(…\)",
        ),
        ({"smooth": 9}, "smooth: Input should be less than or equal to 5"),
        ({"bands": {"red": 1}}, "needs green"),
    ],
)
def test_a_mistake_is_one_line_of_the_one_error(
    demo: Demo, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(lw.InputError, match=said):
        lw.segment(demo.scene, tmp_path / "run", workers=0, **asked)


def test_what_is_no_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(lw.InputError, match="not int; segment also takes an xarray"):
        lw.segment(3, tmp_path)
