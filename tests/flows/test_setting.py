"""A setting is described once: options, forms, the reference and lines to repeat a run say what its
field says."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import typer
from pydantic import BaseModel, Field
from typer.main import get_command

from docs.commands import _describe, _escape
from flows.cli import app
from flows.cli.help import command_of, meaning_of
from flows.cli.requests import MODULES
from flows.compute.cluster import Cluster
from flows.deployments.definitions import FLOWS
from flows.forms import groups
from flows.forms.fields import NUMBER, Group, asks, value_of
from flows.requests.change import ChangeRequest
from flows.requests.conversion import Conversion
from flows.requests.maps import Evaluation, Vectorising
from flows.requests.objects import ObjectsRequest
from flows.requests.request import Request
from flows.requests.series import CollectionRequest, MonitorRequest
from flows.requests.source import Source
from flows.requests.training import Training
from flows.setting import (
    PRODUCTS,
    Key,
    Question,
    Setting,
    answers,
    answers_for,
    build,
    model_in,
    questions,
    setting_in,
)
from segmentation.classical.rules import Rules
from tiling.errors import InputError

COMMANDS: dict[type[BaseModel], str] = {
    Request: "segment",
    Cluster: "segment",
    CollectionRequest: "collection",
    MonitorRequest: "monitor",
    Training: "train",
    ChangeRequest: "change",
    Evaluation: "evaluate",
    Vectorising: "vectorise",
    Conversion: "convert",
    ObjectsRequest: "objects",
}
GROUPS: tuple[type[Group], ...] = tuple(
    value
    for value in vars(groups).values()
    if isinstance(value, type) and issubclass(value, Group) and value.questions
)
IN_PYTHON_ALONE = {"search", "aoi", "cloud_classes", "hidden"}
"""Fields that nobody is asked: a search is one where its catalogue is said, in the area of interest
of its request."""


# ------------------------------------------------------------------------------- a setting is added


class Tinted(Request):
    """A request with a setting more."""

    tint: Annotated[
        int | None,
        Field(ge=1, le=9, title="Tint", description="How strong the colours are, such as 3."),
        Setting(PRODUCTS, metavar="N", unset="as the legend says"),
    ] = None


@asks((Tinted, PRODUCTS))
class TintedOutput(Group):
    """What a form asks of it."""


def tinted(values: dict[Key, Any]) -> Tinted:
    own = answers_for(Tinted, source=Source(paths=("a.tif",)), out="run", segmenter=Rules())
    return build(Tinted, values | own)


def test_a_setting_added_to_a_request_is_in_help_reference_and_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[Tinted] = []

    def paint(*, request: Tinted) -> None:
        """Paint."""
        seen.append(request)

    command = command_of(paint, "Work with maps")
    shown = "How strong the colours are, such as 3. [default: as the legend says]"
    command.main(["--help"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "--tint N" in printed
    assert shown in " ".join(printed.split())
    reference = "\n".join(
        _describe(command, command.make_context("paint", [], resilient_parsing=True))
    )
    assert f"| <code>--tint N</code> | {_escape(shown)} |" in reference
    command.main(["a.tif", "--tint", "4", "--out", "run"], standalone_mode=False)
    assert seen[0].tint == 4
    assert [
        (one.called, value) for one, value in answers(seen[0]) if one and one.name == "tint"
    ] == [("--tint", 4)]
    with pytest.raises(typer.BadParameter, match="less than or equal to 9"):
        command.main(["a.tif", "--tint", "10", "--out", "run"], standalone_mode=False)


def test_a_setting_added_to_a_request_is_in_the_form() -> None:
    assert TintedOutput.model_json_schema()["properties"]["tint"] == {
        "title": "Tint", "type": "string", "default": "", **NUMBER,
        "description": "How strong the colours are, such as 3. Empty: as the legend says.",
    }  # fmt: skip
    assert tinted(TintedOutput().values()).tint is None
    assert tinted(TintedOutput.model_validate({"tint": " 5 "}).values()).tint == 5
    with pytest.raises(InputError, match="tint: Input should be less than or equal to 9, not 10"):
        tinted(TintedOutput.model_validate({"tint": "10"}).values())
    with pytest.raises(InputError, match="tint: 'much' is no number"):
        TintedOutput.model_validate({"tint": "much"}).values()


# ---------------------------------------------------------------------------------------- all agree


def typed() -> list[tuple[str, Question]]:
    """Each setting that is typed, with the command where."""
    asked = [(command, one) for model, command in COMMANDS.items() for one in questions(model)]
    return [(command, one) for command, one in asked if one.options or one.setting.argument]


@pytest.mark.parametrize(
    ("command", "question"), typed(), ids=lambda one: getattr(one, "called", one)
)
def test_an_option_says_what_its_field_says(command: str, question: Question) -> None:
    made: Any = get_command(app).commands[command]
    wanted = set(question.options or [question.name])
    (option,) = [one for one in made.params if wanted & {*one.opts, one.name}]
    assert option.help.startswith(question.description)
    assert question.description.endswith(".")
    if question.kind in (int, float):
        bounds = question.bounds.get("ge"), question.bounds.get("le")
        assert (option.min, option.max) == bounds
    assert option.required == question.required or question.setting.argument
    row = meaning_of(option)
    if question.setting.unset:
        assert row.endswith(f"[default: {question.setting.unset}]")
    elif isinstance(question.default, int | float) and not isinstance(question.default, bool):
        default = question.default
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        assert row.endswith(f"[default: {shown}]")


FIELDS = [(group, name) for group in GROUPS for name in group.questions]


@pytest.mark.parametrize(("group", "name"), FIELDS, ids=str)
def test_a_field_of_a_form_says_what_its_setting_says(group: type[Group], name: str) -> None:
    question, field = group.questions[name], group.model_json_schema()["properties"][name]
    assert field["title"] == question.title
    assert field["description"].startswith(question.description)
    if field["type"] in ("integer", "number") and not question.setting.switch:
        bounds = {bound: field.get(said) for bound, said in (("ge", "minimum"), ("le", "maximum"))}
        assert bounds == {bound: question.bounds.get(bound) for bound in bounds}
    value = value_of(question, field["default"])
    default = list(question.default) if isinstance(question.default, tuple) else question.default
    assert value == default or (value is None and not default), "an untouched form says the default"


@pytest.mark.parametrize(
    ("flow", "request_"),
    [
        ("segment-collection", CollectionRequest),
        ("land-use-monitor", MonitorRequest),
        ("train-network", Training),
        ("evaluate-map", Evaluation),
        ("compare-maps", ChangeRequest),
    ],
)
def test_what_stands_above_the_groups_of_a_form_is_described_by_the_request(
    flow: str, request_: type[BaseModel]
) -> None:
    (form,) = [one.parameters.properties for one in FLOWS if one.name == flow]
    asked = [one for one in questions(request_) if one.setting.form is not None]
    described = {one.setting.form or one.name: one.description for one in asked}
    shared = form.keys() & described.keys()
    assert "output_folder" in shared
    assert {name: form[name]["description"] for name in shared} == {
        name: described[name] for name in shared
    }


def test_every_setting_is_asked_and_nothing_else_is() -> None:
    forms = {one.key for group in GROUPS for one in group.questions.values()}
    parameters = {name for flow in FLOWS for name in flow.parameters.properties}
    for model in COMMANDS:
        for question in questions(model):
            assert (
                question.options or question.setting.argument or question.setting.form is not None
            ), question.key
            if question.setting.form is not None and question.model is not Vectorising:
                name = question.setting.form or question.name
                assert question.key in forms or name in parameters, (
                    "a form asks for its section, or it is on top"
                )
        for name, info in model.model_fields.items():
            assert setting_in(info) or model_in(info) or name in IN_PYTHON_ALONE, (model, name)


def test_no_two_options_of_a_request_have_one_name() -> None:
    for model in COMMANDS:
        names = [name for one in questions(model) for name in one.options]
        assert len(names) == len(set(names)), model


def test_commands_find_their_requests_by_name() -> None:
    from flows.cli import requests

    assert all(getattr(requests, name).__name__ == name for name in MODULES)
    with pytest.raises(AttributeError, match="no command takes Nothing"):
        _ = requests.Nothing
