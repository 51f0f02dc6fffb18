"""What a person types is read alike in every command, and what cannot be read ends in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from flows import cli
from flows.parsing import nearest, pairs, settings_of, words
from flows.requests.segmenters import choose_segmenter
from flows.stac.query import NothingFound
from segmentation.classical.rules import Rules
from segmentation.classical.thresholds import Otsu
from segmentation.errors import InputError as MistakeOfMeaning
from segmentation.inference.network import Network
from segmentation.segmenter import settings
from tests.conftest import Run
from tests.scenes import draw_scene
from tiling.errors import InputError, RemoteUnavailable

COMMANDS: dict[str, Any] = get_command(cli.app).commands


class OfThirdParty(MistakeOfMeaning):
    """What a package beside this one makes of a mistake."""


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "kind", [InputError, NothingFound, RemoteUnavailable, MistakeOfMeaning, OfThirdParty]
)
def test_every_kind_of_mistake_is_one_line(
    landweave: Run, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def mistaken(*_: object, **__: object) -> None:
        raise kind("this is wrong; mend it so")

    monkeypatch.setattr("flows.plan.plan.make_plan", mistaken)
    assert landweave("plan", "scene.tif") == (2, "", "landweave: this is wrong; mend it so\n")


def test_another_error_stays_a_fault_of_ours(
    landweave: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("not a person's")

    monkeypatch.setattr("flows.plan.plan.make_plan", broken)
    with pytest.raises(ValueError, match="not a person's"):
        landweave("plan", "scene.tif")


@pytest.mark.parametrize("command", ["plan", "segment", "collection"])
def test_a_search_that_finds_nothing_is_one_line(
    landweave: Run, tmp_path: Path, command: str
) -> None:
    facts = {
        "type": "Collection", "stac_version": "1.1.0", "id": "empty", "description": "",
        "license": "other",
        "extent": {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }  # fmt: skip
    (tmp_path / "collection.json").write_text(json.dumps(facts))
    status, out, err = landweave(
        command, "--stac", tmp_path / "collection.json", "--out", tmp_path / "run"
    )
    assert (status, out) == (2, "")
    assert err.startswith("landweave: nothing was found in ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["segment"], "missing option '--out'"),
        (["segmnt"], "did you mean 'segment'"),
        (["segment", "a.tif", "--nosuch"], "no such option: --nosuch"),
        (["demo", "--size", "x"], "--size"),
        (["evaluate", "a.tif"], "missing argument"),
        (["segment", "a.tif", "--out", ""], "--out is empty; name what to write to"),
        (["segment", "a.tif", "--out", "a\0b"], "a NUL character"),
        (["segment", "a.tif", "--out", "r", "--min-area", "nan"], "--min-area"),
        (
            ["segment", "a.tif", "--out", "r", "--shard", "1" + 99 * "0"],
            "whole numbers end at 2147483647",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(landweave: Run, typed: list[str], says: str) -> None:
    status, out, err = landweave(*typed)
    assert (status, out) == (2, "")
    assert err.startswith("landweave: ")
    assert err.count("\n") == 1
    assert says.casefold() in err.casefold()


# --------------------------------------------------------------------------------------------- help


def test_the_version_and_short_names_are_there(landweave: Run) -> None:
    assert landweave("--version")[1].startswith("landweave 0.")
    assert landweave("-h") == landweave("--help") == landweave()
    for name, command in COMMANDS.items():
        outs = [one for one in command.params if "--out" in one.opts]
        assert name in ("models", "segmenters", "indices", "serve") or "-o" in outs[0].opts


def test_descriptions_are_whole_and_every_command_has_an_example(
    landweave: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    plain = " ".join(landweave("--help")[1].split())
    for name, command in COMMANDS.items():
        assert " ".join(command.help.partition("\n\n")[0].split()) in plain
        status, out, _ = landweave(name, "--help")
        assert status == 0
        assert f"landweave {name}" in out.partition("Examples:\n")[2]
        assert max(map(len, out.splitlines())) <= 80


def test_long_lists_of_options_stand_under_titles(landweave: Run) -> None:
    for name in ("segment", "collection", "monitor", "train"):
        titles = [
            line
            for line in landweave(name, "-h")[1].splitlines()
            if line.endswith(":") and line[0] != " "
        ]
        assert len(titles) >= 5, titles


def test_json_is_a_flag_of_every_command_that_ends(landweave: Run) -> None:
    for name, command in COMMANDS.items():
        flags = [one for one in command.params if "--json" in one.opts]
        assert [one.is_flag for one in flags] == ([] if name == "serve" else [True]), name


# -------------------------------------------------------------------------------------------- lists


def test_lists_are_read_between_commas_and_from_several_options() -> None:
    assert words(["NDVI,NDWI", " EVI "]) == words("NDVI, NDWI,EVI") == ("NDVI", "NDWI", "EVI")
    assert dict(pairs("--bands", ["red=1,green=2", "blue=3"], int)) == {
        "red": 1,
        "green": 2,
        "blue": 3,
    }
    with pytest.raises(
        InputError, match="--bands red=1,red=2 says two things of red; leave one out"
    ):
        dict(pairs("--bands", ["red=1", "red=2"], int))


@pytest.mark.parametrize(
    ("texts", "given"),
    [
        (["water=0.1,reach=0.3"], {"water": 0.1, "reach": 0.3}),
        (["water=0.1", "reach=0.3"], {"water": 0.1, "reach": 0.3}),
        (["windows=[3,9]"], {"windows": [3, 9]}),
        (["windows=[3,9],trees=5"], {"windows": [3, 9], "trees": 5}),
        (["above=Lake, deep", "below=Land"], {"above": "Lake, deep", "below": "Land"}),
        (["above='a,b=c',below=d"], {"above": "a,b=c", "below": "d"}),
        (["options={a: [1,2], b: 3},loss=ce"], {"options": {"a": [1, 2], "b": 3}, "loss": "ce"}),
    ],
)
def test_settings_are_parted_by_commas_outside_brackets(
    texts: list[str], given: dict[str, Any]
) -> None:
    assert settings_of("--set", texts) == given


def test_a_map_is_asked_for_alike_with_commas_and_repeats(landweave: Run, tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 40, 40)
    once = ["--index", "NDVI,NDWI", "--products", "classes,vectors", "--set", "water=0.1,reach=0.3"]
    twice = ["--index", "NDVI", "--index", "NDWI", "--products", "classes", "--products", "vectors"]
    twice += ["--set", "water=0.1", "--set", "reach=0.3"]
    requests = []
    for number, given in enumerate((once, twice)):
        status, out, err = landweave(
            "segment", scene, "-o", tmp_path / str(number), "--workers", 0, "--json", *given
        )
        assert status == 0, err
        requests.append({**json.loads(out)["request"], "out": ""})
    assert requests[0] == requests[1]
    assert requests[0]["indices"] == ["NDVI", "NDWI"]


# -------------------------------------------------------------------------------------------- names


def test_a_model_of_the_package_is_a_segmenter() -> None:
    assert choose_segmenter("demo", {"tta": True}) == Network(bundle="demo", tta=True)
    assert choose_segmenter("otsu", {"index": "NDWI"}) == Otsu(index="NDWI")


def test_a_folder_called_as_a_kind_is_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever maps with `--segmenter rules --out rules` may do it again."""
    (tmp_path / "otsu").mkdir()
    monkeypatch.chdir(tmp_path)
    assert choose_segmenter("otsu", {}) == Otsu()
    with pytest.raises(MistakeOfMeaning, match="otsu is no bundle"):
        choose_segmenter("./otsu", {})


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("rules", {"watr": 0.1}, "segmenter rules has no setting watr; did you mean water"),
        ("rules", {"water": "wet"}, "segmenter rules: water='wet': Input should be a valid number"),
        ("rule", {}, "there is no segmenter 'rule'; installed are"),
        ("demmo", {}, "did you mean demo?"),
        ("forest", {}, "segmenter forest needs bundle"),
        ("rules", {"measures": 1}, "has no setting measures"),
    ],
)
def test_what_is_spelt_wrong_is_told_from_what_was_meant(
    name: str, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match="segmenter") as told:
        choose_segmenter(name, settings)
    assert says in str(told.value)


@pytest.mark.parametrize(
    ("asked", "close"),
    [("randomforest", "random-forest"), ("Unet", "unet"), ("deeplab3", "deeplabv3")],
)
def test_an_architecture_is_refused_before_a_scene_is_read(
    landweave: Run, tmp_path: Path, asked: str, close: str
) -> None:
    status, _, err = landweave(
        "train",
        "missing.tif",
        "--labels",
        "missing.gpkg",
        "-o",
        tmp_path / "m",
        "--architecture",
        asked,
    )
    assert status == 2
    assert f"there is no architecture {asked!r}; did you mean {close}" in err
    assert "random-forest, extra-trees, gradient-boosting, fullunet, unet" in err


def test_nearest_knows_when_nothing_is_near() -> None:
    assert nearest("xyz", ["unet", "manet"]) == ""
    assert nearest("min_aera", ["min_area", "simplify"]) == "; did you mean min_area?"


# -------------------------------------------------------------------------------------------- lists


def test_a_segmenter_is_explained_with_every_setting_and_what_it_may_be(landweave: Run) -> None:
    status, out, _ = landweave("segmenters", "rules", "--json")
    assert status == 0
    facts = json.loads(out)
    water = next(one for one in facts["settings"] if one["name"] == "water")
    assert (water["default"], water["allowed"], water["unit"]) == (0, "-1 to 1", "index")
    assert {one["name"]: one["unit"] for one in facts["settings"]}["trees_green"] == "reflectance"
    assert [one["name"] for one in facts["classes"]] == [
        land.name for land in Rules().legend.each()
    ]
    assert water["meaning"] == Rules.model_fields["water"].description
    assert [one["name"] for one in facts["settings"]] == list(settings(Rules))
    _, out, _ = landweave("segmenters", "network")
    assert "measures" not in out
    assert "fitted" not in out
    assert "auto, cpu or cuda" in out
    assert "landweave models demo" in landweave("segmenters", "demo")[2]
    assert "did you mean otsu" in landweave("segmenters", "Otsu")[2]


def test_what_training_takes_is_explained_on_this_machine(landweave: Run) -> None:
    _, out, _ = landweave("models", "--settings", "--json")
    told = json.loads(out)
    assert {"loss", "chip", "steps"} <= {one["name"] for one in told["networks"]}
    assert {"trees", "windows"} <= {one["name"] for one in told["forests"]}
    assert all(one["meaning"] for rows in told.values() for one in rows)
    assert "the manual" not in landweave("train", "--help")[1]


def test_a_plan_is_values_for_programs(landweave: Run, tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 120, 150)
    status, out, err = landweave("plan", scene, "--shard", 64, "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert (facts["width"], facts["height"], facts["crs"]) == (150, 120, "EPSG:32633")
    assert facts["shards"] == 2
    assert facts["shard"] == {"width": 128, "height": 120}
    assert facts["product_pixels"] == 150 * 120 <= facts["computed_pixels"]
    assert isinstance(facts["worker_bytes"], int)
    assert facts["bands"][3] | {"file": ""} == {
        "name": "nir", "file": "", "number": 4, "dtype": "uint16", "units": "reflectance",
        "scale": 1e-4, "offset": 0,
        "nodata": 0,
    }  # fmt: skip
    assert facts["segmenter"]["kind"] == "rules"
