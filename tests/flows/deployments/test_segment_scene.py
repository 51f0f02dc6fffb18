"""The Prefect flow: the form an analyst fills in, the run behind it, and what Prefect shows of
it."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any
from uuid import uuid4

import numpy as np
import pyogrio
import pytest
import rasterio
from PIL import Image
from prefect import runtime
from prefect.artifacts import Artifact
from prefect.exceptions import FailedRun
from prefect.settings import PREFECT_HOME, PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
from prefect.states import Failed
from pydantic import Field
from rasterio.transform import from_origin

from flows.compute.spawning import empty_main
from flows.deployments.comparing import compare_maps
from flows.deployments.segment_scene import segment_scene
from flows.forms.dropdowns import Paths
from flows.forms.groups import Advanced, Changes, Output
from flows.pages.artifacts import key_of
from flows.pages.pictures import data_uri
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from flows.stac.run_item import slug
from flows.tasks import notify
from flows.tasks.runs import asset, fill_in, plain, should_retry
from segmentation.classical.rules import Rules
from tests.scenes import write_scene
from tiling.errors import InputError, RemoteUnavailable

HEIGHT, WIDTH = 96, 128
WATER, TREES = (600, 500, 300, 100), (200, 300, 200, 4000)
"""Blue, green, red and near infrared, reflectance × 10000."""


def draw_scene(path: Path) -> Path:
    """A scene of 96 × 128 px of 10 m: the left quarter is water, the rest trees; its bands have
    names."""
    pixels = np.empty((4, HEIGHT, WIDTH), np.uint16)
    pixels[:] = np.array(TREES)[:, None, None]
    pixels[:, :, : WIDTH // 4] = np.array(WATER)[:, None, None]
    profile = {
        "driver": "GTiff",
        "width": WIDTH,
        "height": HEIGHT,
        "count": 4,
        "dtype": "uint16",
        "nodata": 0,
    }
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_400_000, 10, 10)}
    with rasterio.open(path, "w", **profile, **place) as raster:
        raster.write(pixels)
        raster.descriptions = ("blue", "green", "red", "nir")
        raster.scales = (0.0001,) * 4
    return path


# ------------------------------------------------------------------------------------------ picture


def test_a_picture_that_fits_goes_into_the_page_as_it_is(tmp_path: Path) -> None:
    picture = tmp_path / "small.png"
    Image.new("RGB", (40, 30), (1, 2, 3)).save(picture)
    assert base64.b64decode(data_uri(picture).partition(",")[2]) == picture.read_bytes()


def test_a_picture_that_does_not_fit_is_made_smaller_until_it_does(tmp_path: Path) -> None:
    picture = tmp_path / "noise.png"
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    noise[:, :200] = (200, 0, 0)
    Image.fromarray(noise).save(picture)
    uri = data_uri(picture, longest=40_000)
    assert len(uri) <= 40_000
    with Image.open(
        io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))
    ) as shown:
        assert shown.width / shown.height == pytest.approx(4 / 3, rel=0.02)
        assert np.abs(np.array(shown.convert("RGB").getpixel((5, 5))) - (200, 0, 0)).max() < 8


# ---------------------------------------------------------------------------------------- processes


def test_workers_of_a_flow_run_do_not_import_its_main_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # as `python -m prefect.engine` has it: who runs tests may have one of no name
    main = ModuleType("__main__")
    main.__spec__ = ModuleSpec("prefect.engine", None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert {"init_main_from_name", "init_main_from_path"} & set(get_preparation_data("worker"))
    with empty_main():
        assert not {"init_main_from_name", "init_main_from_path"} & set(
            get_preparation_data("worker")
        )
    assert sys.modules["__main__"] is main


def logged(
    message: str, *args: object, error: Exception | None = None, level: int = logging.ERROR
) -> str | None:
    """What becomes of a log line of Prefect's; None where it is dropped."""
    cause = (type(error), error, None) if error else None
    record = logging.LogRecord("prefect", level, "", 0, message, args, cause)
    record.flow_run_id = str(uuid4())
    return record.getMessage() if plain(record) else None


@pytest.mark.parametrize(
    ("given", "called"), [("wise-otter", "valley · rules"), ("Upper valley", "Upper valley")]
)
def test_a_run_that_a_schedule_starts_is_called_by_its_scene_and_the_usual_segmenter(
    monkeypatch: pytest.MonkeyPatch, given: str, called: str
) -> None:
    monkeypatch.setitem(runtime.flow_run.FIELDS, "name", lambda: given)
    monkeypatch.setitem(
        runtime.flow_run.FIELDS, "parameters", lambda: {"scene": ["/data/valley.tif"]}
    )
    assert segment_scene.flow_run_name() == called


def test_logs_keep_the_traceback_of_a_fault_and_drop_that_of_a_mistake() -> None:
    assert logged("failed", error=RuntimeError("ours")) == "failed"
    assert logged("failed", error=InputError("theirs")) is None
    assert logged("failed", error=FailedRun("theirs")) is None


def test_of_a_cancelled_run_logs_say_one_sentence() -> None:
    said = [
        logged("Crash detected! Execution was aborted by a termination signal."),
        logged("Finished in state Running()", level=logging.INFO),
        logged("Flow run was cancelled.", level=logging.INFO),
    ]
    assert said == [None, None, "Cancelled; the same run goes on from here"]
    assert logged("Crash detected! Execution was interrupted by the system.") is not None


def test_a_further_attempt_is_told_with_its_reason_in_a_sentence() -> None:
    state = Failed(message="the storage is away", data=RemoteUnavailable("the storage is away"))
    line = "Task run failed with %s: %r - Retry %s/%s will start %s"
    said = logged(line, "state", state, 1, 2, "10 second(s) from now", level=logging.INFO)
    assert said == "the storage is away; tried again 10 seconds from now"


def test_a_mistake_is_logged_once_a_run() -> None:
    def record(run: str) -> logging.LogRecord:
        made = logging.LogRecord("prefect", logging.ERROR, "", 0, "a.tif does not exist", (), None)
        made.flow_run_id = run
        return made

    run, other = str(uuid4()), str(uuid4())
    assert [plain(record(one)) for one in (run, run, other)] == [True, False, True]


EMPTY = Output()


def work_on(
    scene: Paths, smallest: Annotated[int, Field(ge=0)] = 0, output: Output = EMPTY
) -> tuple[str, list[str]]:
    return "done", []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "Scene is empty and this run cannot do without; .* edit that schedule"),
        ({"scene": None}, "Scene is empty"),
        (
            {"scene": ["a"], "smallest": -1},
            "^Smallest: Input should be greater than or equal to 0$",
        ),
        (
            {"scene": ["a"], "output": {"smallest_area": [1]}},
            "^Output · Smallest area: Input should be a valid string$",
        ),
    ],
)
def test_what_a_schedule_left_out_or_a_form_let_through_is_a_mistake_in_a_sentence(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        fill_in(work_on, given)


def test_a_schedule_with_a_field_that_is_gone_says_where_to_mend_it() -> None:
    with pytest.raises(
        InputError, match=r"Output · Colour is no field of this form; .* a schedule asked"
    ):
        fill_in(work_on, {"scene": ["a"], "output": {"colour": "red"}})


def test_a_form_that_is_filled_in_is_checked_and_completed() -> None:
    assert fill_in(work_on, {"scene": ["a"]}) == {"scene": ["a"], "smallest": 0, "output": Output()}


def test_a_task_is_tried_again_only_where_its_failure_may_pass() -> None:
    def again(error: Exception) -> bool:
        return should_retry(None, None, Failed(data=error))

    assert again(ConnectionResetError("the storage went away"))
    assert not again(InputError("no-such.tif does not exist"))
    assert not again(RuntimeError("ours"))
    failed = InputError("1 of 40 shards failed")
    failed.__cause__ = RemoteUnavailable("the scene cannot be read; its server fails")
    assert again(failed)
    unwritable = InputError("cannot write to out")
    unwritable.__cause__ = TimeoutError("the mistake says it all")
    assert not again(unwritable)
    several = RuntimeError("3 of 40 shards failed")
    several.__cause__ = TimeoutError("the storage did not answer")
    assert again(several)


def test_an_asset_is_known_by_its_address_in_characters_that_prefect_takes(tmp_path: Path) -> None:
    known = asset(tmp_path / "my run" / "classes.tif", "the class of every pixel")
    assert known.key == f"file://{tmp_path}/my_run/classes.tif"
    assert known.properties is not None
    assert known.properties.name == "classes.tif"


@pytest.mark.parametrize(
    ("name", "key"),
    [("S2B_32TQM_20240630", "s2b-32tqm-20240630"), ("Forêt d'Eu", "foret-d-eu"), ("…", "unnamed")],
)
def test_a_name_becomes_a_key_of_small_letters_digits_and_dashes(name: str, key: str) -> None:
    assert slug(name) == key


# --------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server for these tests alone."""
    from prefect.testing.utilities import prefect_test_harness  # which loads all of the server

    home = tmp_path_factory.mktemp("prefect")
    with (
        temporary_settings({PREFECT_HOME: home, PREFECT_SERVER_ANALYTICS_ENABLED: False}),
        prefect_test_harness(server_startup_timeout=120),
    ):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("prefect")
def test_the_flow_makes_a_class_for_each_object_as_the_pipeline_does(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif")
    source, out = Source(paths=(str(scene),)), tmp_path / "plain"
    plain = pipeline.run(Request(source=source, out=out, segmenter=Rules(), objects=4))
    state: Any = segment_scene(
        scene=[str(scene)],
        output_folder=str(tmp_path / "flow"),
        output=Output(objects=4),
        return_state=True,
    )
    assert state.is_completed(), state.message
    for name in ("classes.tif", "confidence.tif"):
        assert (tmp_path / "flow" / name).read_bytes() == (plain.folder / name).read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("prefect")
def test_the_flow_makes_the_pipelines_map_leaves_it_to_be_looked_at_and_tells_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[notify.Note] = []
    monkeypatch.setenv(notify.SETTING, "https://hooks.example.org/1")
    monkeypatch.setattr(notify, "notify", lambda note, *_: notes.append(note))
    scene = draw_scene(tmp_path / "scene.tif")
    plain = pipeline.run(
        Request(source=Source(paths=(str(scene),)), out=tmp_path / "plain", segmenter=Rules())
    )

    state: Any = segment_scene(
        scene=[str(scene)], output_folder=str(tmp_path / "flow"), return_state=True
    )

    assert state.is_completed(), state.message
    assert state.message.endswith(f"ha in 2 classes, 2 polygons; in {tmp_path / 'flow'}")
    assert (tmp_path / "flow" / "classes.tif").read_bytes() == (
        plain.folder / "classes.tif"
    ).read_bytes()

    left: Callable[[str], Any] = Artifact.get
    areas = {
        row["class"]: row
        for row in json.loads(left(f"areas-{key_of('scene', tmp_path / 'flow')}").data)
    }
    assert areas["Water"]["pixels"] == f"{HEIGHT * WIDTH // 4:,}"
    assert areas["Water"]["share"] == "25.0 %"
    page = left(f"land-cover-{key_of('scene', tmp_path / 'flow')}").data
    assert "![Map of scene with its legend](data:image/png;base64," in page
    assert str(tmp_path / "flow" / "landcover.gpkg") in page
    assert left("progress-segment-scene").data == 100
    (note,) = notes
    assert (note.flow, note.run, note.state) == ("segment-scene", "scene · rules", "Completed")
    assert note.message == state.message
    assert "/runs/flow-run/" in note.address
    assert left("progress-segment-scene").description.startswith("done in ")


@pytest.mark.slow
@pytest.mark.usefixtures("prefect")
def test_a_wrong_path_fails_the_run_with_the_mend_as_its_message(tmp_path: Path) -> None:
    state: Any = segment_scene(
        scene=["no-such.tif"], output_folder=str(tmp_path), return_state=True
    )
    assert state.is_failed()
    assert state.message == "no-such.tif does not exist; check the path"


@pytest.mark.slow
@pytest.mark.usefixtures("prefect")
def test_the_flow_that_compares_maps_tells_of_objects_from_its_form_to_the_layer(
    tmp_path: Path,
) -> None:
    numbers = np.zeros((20, 30), np.uint32)
    numbers[2:8, 2:8], numbers[2:8, 20:26] = 1, 2
    days = []
    for name, drawn in (("before", numbers), ("now", np.where(numbers == 2, 0, numbers))):
        days.append(str(write_scene(tmp_path / f"{name}.tif", drawn[None], names=("object",))))
    state: Any = compare_maps(
        earlier=days[0],
        later=days[1],
        output_folder=str(tmp_path / "change"),
        changes=Changes(objects=True, smallest_change=500.0),
        advanced=Advanced(workers=0),
        return_state=True,
    )
    assert state.is_completed(), state.message
    assert state.message.startswith("1 stayed")
    layer = pyogrio.read_dataframe(tmp_path / "change" / "change.gpkg", layer="change")
    assert sorted(layer.class_name) == ["stayed", "vanished"]
    asked = json.loads((tmp_path / "change" / "change.json").read_text())["request"]
    assert (asked["objects"], asked["min_area"]) == (True, 500.0)
