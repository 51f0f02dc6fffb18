"""What forms offer to choose from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from typer.main import get_command

from flows.cli import app
from flows.deployments.definitions import FLOWS, map_scene, segment_scene
from flows.forms.choices import (
    METHODS,
    RUN_OF_FORM,
    SENSORS,
    bands_of,
    index_of,
    indices_in_words,
    models,
    scenes,
    segmenter_of,
)
from flows.tasks.words import in_form_words, titles
from segmentation.models.bundle import PACKAGED
from segmentation.models.known_models import known_names
from segmentation.spectral.indices import is_index
from tiling.errors import InputError
from tiling.scene.band_names import COMMON_NAMES


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with two scenes, a map of one, a model, and what nobody is offered."""
    root = tmp_path / "data"
    (root / "inbox" / "deep").mkdir(parents=True)
    (root / "run" / "parts").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for place in (
        "inbox/a.tif",
        "inbox/deep/b.JP2",
        "run/classes.tif",
        "run/parts/p.tif",
        ".hidden/c.tif",
        "notes.txt",
    ):
        (root / place).write_bytes(b"")
    (root / "run" / "run.json").write_text("{}")
    (root / "inbox" / "link.tif").symlink_to("/etc/passwd")
    shutil.copytree(PACKAGED / "demo", root / "models" / "oaks")
    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", str(root))
    monkeypatch.delenv(RUN_OF_FORM, raising=False)
    return root


def test_scenes_of_the_data_folders_are_listed_without_what_runs_have_made(data: Path) -> None:
    assert set(scenes()) == {str(data / "inbox" / "a.tif"), str(data / "inbox" / "deep" / "b.JP2")}


def test_trained_models_of_the_data_folders_are_listed_by_kind(data: Path) -> None:
    assert models() == [str(data / "models" / "oaks")]
    assert models("network") == ["demo", str(data / "models" / "oaks")]
    assert models("forest") == []


def test_without_data_folders_nothing_is_listed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LANDWEAVE_DATA_ROOTS")
    assert scenes() == models() == []


def test_the_process_of_a_run_looks_through_no_folders(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN_OF_FORM, "some run")
    assert scenes() == models() == []


def test_the_form_lists_scenes_and_models_beside_a_path(data: Path) -> None:
    def form(flow: Any) -> dict[str, Any]:
        return dict(parameter_schema(flow).model_dump_for_openapi())

    scene, method = (form(map_scene)["properties"][name]["anyOf"] for name in ("scene", "method"))
    assert set(scene[0]["enum"]) == set(scenes())
    assert scene[1]["type"] == "string"
    assert method[0]["enum"] == [*METHODS, *known_names(), str(data / "models" / "oaks")]
    bundle = form(segment_scene)["definitions"]["Network"]["properties"]["bundle"]["anyOf"]
    assert bundle[0]["enum"] == ["demo", str(data / "models" / "oaks")]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_in_words_is_a_segmenter(method: str) -> None:
    assert segmenter_of(method).kind == METHODS[method][0]


def test_a_method_may_be_the_folder_of_a_model_and_nothing_else(data: Path) -> None:
    assert segmenter_of(str(data / "models" / "oaks")).kind == "network"
    with pytest.raises(InputError, match="there is no segmenter"):
        segmenter_of("magic")


def test_sensors_name_bands_by_their_common_names() -> None:
    assert bands_of("as the file says") == ""
    assert bands_of("blue, green, red, near infrared") == "blue=1,green=2,red=3,nir=4"
    for names in SENSORS.values():
        assert set(names) <= set(COMMON_NAMES)
        assert {"green", "red"} < set(names)


def test_every_index_in_words_is_one() -> None:
    assert all(is_index(index_of(words)) for words in indices_in_words())
    assert indices_in_words()[0] == "NDVI: green plants"


def test_fields_that_stand_for_options_are_fields_of_a_form() -> None:
    shown: set[str] = set()
    for flow in FLOWS:
        form = parameter_schema(flow).model_dump_for_openapi()
        shown |= {name.replace("_", " ").capitalize() for name in form["properties"]}
        for group in form["definitions"].values():
            shown |= {field["title"] for field in group.get("properties", {}).values()}
    assert set(titles().values()) <= shown


def test_what_stands_for_a_field_is_an_option_of_the_command_line() -> None:
    known = {
        word
        for command in get_command(app).commands.values()
        for one in command.params
        for word in one.opts
    }
    assert set(titles()) <= known


def test_the_tab_of_forests_says_what_forest() -> None:
    form = parameter_schema(segment_scene).model_dump_for_openapi()
    titles = {group.get("title") for group in form["definitions"].values()}
    assert "Random forest" in titles
    assert "Forest" not in titles


def test_a_mistake_names_fields_and_leaves_commands_alone() -> None:
    said = (
        "leave --column out, or name another folder with --out; `landweave train … --labels "
        "FILE` trains one"
    )
    assert in_form_words(InputError(said)) == (
        "leave “Column” out, or name another folder under “Output folder”; `landweave train … "
        "--labels FILE` trains one"
    )
