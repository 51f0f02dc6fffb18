"""The forms: what an analyst is asked, in which words, and the request it becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from flows.deployments.definitions import FLOWS
from flows.deployments.segment_scene import segment_scene
from flows.detection.mask_rcnn import MaskRcnn
from flows.forms.choices import PRODUCT_WORDS, USUAL_PRODUCTS
from flows.forms.dropdowns import resolve_asked
from flows.forms.fields import products_of
from flows.forms.groups import (
    Advanced,
    Bands,
    Changes,
    Comparison,
    Labels,
    Model,
    Output,
    Passes,
    Series,
    Shapes,
    Watch,
)
from flows.forms.looking import Looking
from flows.forms.paths import path_of
from flows.forms.requests import (
    changes_from,
    cluster_for,
    collection_from,
    evaluation_from,
    monitor_from,
    objects_from,
    request_from,
    training_from,
)
from flows.partitions import registry as partitions
from flows.partitions.instances import Instances
from flows.partitions.watershed import Watershed
from flows.requests.access import reach_of_forms
from flows.requests.change import ChangeRequest
from flows.requests.commandline import objects_line, segment_line
from flows.requests.maps import Evaluation
from flows.requests.request import PRODUCTS, Product, Request
from flows.requests.source import Source
from flows.stac.query import Search
from segmentation.classical.rules import Rules
from segmentation.classical.thresholds import Otsu
from segmentation.forests.estimators import FORESTS
from segmentation.networks.architectures import architectures
from segmentation.registry import kinds
from segmentation.spectral.indices import catalogue
from segmentation.training.recipe import Recipe
from tiling.errors import InputError
from tiling.io.access import AccessPolicy, restrict_access
from tiling.scene.band_names import COMMON_NAMES

GROUPS = (
    Bands,
    Changes,
    Output,
    Advanced,
    Labels,
    Model,
    Comparison,
    Series,
    Watch,
    Shapes,
    Passes,
)


def asked(name: str) -> dict[str, Any]:
    """The schema of a flow's form."""
    (flow,) = [flow for flow in FLOWS if flow.name == name]
    return flow.parameters.model_dump_for_openapi()


def fits(name: str, values: dict[str, Any]) -> bool:
    """Whether the server takes these values at Submit."""
    form = asked(name)
    return bool(jsonschema.Draft202012Validator(form).is_valid(values))


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    return segment_scene.parameters.model_dump_for_openapi()


def test_the_form_asks_for_the_scene_and_the_folder_and_knows_the_rest(
    form: dict[str, Any],
) -> None:
    assert list(form["properties"]) == [
        "scene",
        "output_folder",
        "bands",
        "segmenter",
        "output",
        "advanced",
    ]
    assert form["required"] == ["scene"]
    assert all(field["description"] for field in form["properties"].values())
    assert [form["properties"][name]["$ref"] for name in ("bands", "output", "advanced")] == [
        "#/definitions/Bands",
        "#/definitions/Output",
        "#/definitions/Advanced",
    ]


@pytest.mark.parametrize("group", GROUPS)
def test_every_setting_of_a_group_has_a_title_a_description_and_a_default_of_one_type(
    group: Any,
) -> None:
    for name, field in group.model_json_schema()["properties"].items():
        assert {"title", "description", "default", "type"} <= set(field), (group, name)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_form_asks_at_most_three_things_and_explains_every_one(flow: Any) -> None:
    form = flow.parameters.model_dump_for_openapi()
    assert len(form.get("required", [])) <= 3
    assert len(form["properties"]) <= 7
    assert all(field["description"] for field in form["properties"].values())
    assert flow.description


def test_the_server_refuses_at_submit_what_cannot_be() -> None:
    whole = {"scene": ["a.tif"], "output_folder": "out"}
    assert fits("segment-scene", whole)
    assert fits("segment-scene", {"scene": ["a.tif"]})
    assert not fits("segment-scene", {"output_folder": "out"})
    assert fits("map-scene", {"scene": "a.tif"})
    assert not fits("map-scene", {"scene": ""})
    assert not fits("map-scene", {"scene": "a.tif", "sensor": "Sentinel"})
    assert fits("segment-scene", whole | {"output": {"index_means": ["NDVI", "NDWI: open water"]}})
    assert not fits("segment-scene", whole | {"output": {"index_means": ["NDIV"]}})
    assert not fits("segment-scene", whole | {"segmenter": {"kind": "otsu", "index": "NDIV"}})
    for name, slip in (("names", "blue"), ("no_data", "none"), ("scale", "1,5"), ("date", "June")):
        assert not fits("segment-scene", whole | {"bands": {name: slip}}), name
    for name, value in (
        ("names", "blue=1, t2.red=2"),
        ("no_data", "-9999"),
        ("scale", "1e-4"),
        ("date", "2024-06-30"),
    ):
        assert fits("segment-scene", whole | {"bands": {name: value}}), name
    assert not fits("segment-scene", whole | {"scene": []})
    assert not fits("segment-scene", whole | {"output": {"products": ["clases"]}})
    assert not fits("segment-scene", whole | {"advanced": {"shard": 0}})
    assert not fits("segment-scene", whole | {"bands": {"nmes": "red=1"}})
    assert fits("compute-indices", whole | {"indices": ["NDVI"]})
    assert not fits("compute-indices", whole | {"indices": ["NDIV"]})
    assert not fits(
        "land-use-monitor", {"folders": ["in"], "output_folder": "out", "watch": {"most_cloud": 30}}
    )


def test_indices_and_architectures_are_chosen_from_what_there_is() -> None:
    assert asked("compute-indices")["properties"]["indices"]["items"]["enum"] == list(catalogue())
    assert Model.model_json_schema()["properties"]["architecture"]["enum"][1:] == [
        *architectures(),
        *FORESTS,
    ]


def test_the_segmenter_is_a_choice_of_the_installed_kinds_with_their_settings(
    form: dict[str, Any],
) -> None:
    choice = form["properties"]["segmenter"]
    offered = [form["definitions"][tab["$ref"].rpartition("/")[2]] for tab in choice["anyOf"]]
    assert {kind for tab in offered for kind in tab["properties"]["kind"]["enum"]} == set(kinds())
    # of one the form says it cannot be changed
    assert not any("const" in tab["properties"]["kind"] for tab in offered)
    assert choice["default"] == Rules().model_dump(mode="json")
    otsu = next(tab for tab in offered if tab["title"] == "Otsu")
    assert otsu["properties"]["index"]["default"] == Otsu().index
    assert set(otsu["properties"]["index"]["enum"]) == {*catalogue(), *COMMON_NAMES}
    assert not any("fitted" in tab["properties"] for tab in offered)


def test_the_form_asks_for_what_the_command_line_asks_for() -> None:
    line = (
        "landweave segment b.tif r.tif --bands blue=1,red=2 --nodata -9999.0 --scale 0.0001 "
        "--offset 0.0 --mask band=5 "
        "--mask-values 3,8 --date 2024-06-30 --segmenter otsu --set index=NDWI --products "
        "classes,vectors --smooth 2 "
        "--aoi aoi.gpkg --reference truth.tif --shard 512 --fresh --out out"
    )
    filled = request_from(
        ["b.tif", "r.tif"],
        "out",
        Otsu(index="NDWI"),
        Bands(
            names="blue=1, red=2", no_data="-9999", scale="0.0001", offset="0", mask="band=5",
            mask_values=[3, 8],
            date="2024-06-30",
        ),
        Output(smooth=2, products=["polygons"], area_of_interest="aoi.gpkg", reference="truth.tif"),
        Advanced(shard=512, start_afresh=True),
    )  # fmt: skip
    assert segment_line(filled) == line


def test_an_empty_form_is_the_default_request() -> None:
    filled = request_from(["a.tif"], "out", Rules(), Bands(), Output(), Advanced())
    assert filled == Request(source=Source(paths=("a.tif",)), out=Path("out"), segmenter=Rules())


def test_where_folders_are_bounded_what_is_left_empty_leads_nowhere(tmp_path: Path) -> None:
    with restrict_access(AccessPolicy(roots=(tmp_path,))):
        request_from(
            [str(tmp_path / "a.tif")], str(tmp_path / "out"), Rules(), Bands(), Output(), Advanced()
        )
        with pytest.raises(InputError, match=r"/etc/mask\.tif lies outside"):
            request_from(
                [str(tmp_path / "a.tif")],
                str(tmp_path),
                Rules(),
                Bands(mask="/etc/mask.tif"),
                Output(),
                Advanced(),
            )


@pytest.mark.parametrize(
    ("bands", "fact"),
    [
        (Bands(names="blue"), "NAME=VALUE"),
        (Bands(no_data="none"), "no data: 'none' is no number"),
        (Bands(date="June"), "date"),
    ],
)
def test_a_slip_in_the_form_is_a_mistake_that_names_the_field(bands: Bands, fact: str) -> None:
    with pytest.raises(ValueError, match=fact) as caught:
        request_from(["a.tif"], "out", Rules(), bands, Output(), Advanced())
    assert type(caught.value).__name__ == "InputError"


@pytest.mark.parametrize(
    "typed",
    ["/data/a b.tif\n", ' "/data/a b.tif" ', "'/data/a b.tif'", "~/a b.tif", 'red="~/a b.tif"'],
)
def test_a_path_is_understood_as_it_was_meant(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/data")
    assert path_of(typed).removeprefix("red=") == "/data/a b.tif"


def test_without_an_output_folder_maps_lie_in_the_first_data_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def out(scene: str) -> str:
        return str(request_from([scene], " ", Rules(), Bands(), Output(), Advanced()).out)

    monkeypatch.delenv("LANDWEAVE_DATA_ROOTS", raising=False)
    assert out("/here/inbox/valley.tif") == "/here/inbox/maps/valley"
    assert out("red=/here/inbox/B04.tif") == "/here/inbox/maps/B04"
    with pytest.raises(InputError, match="another machine"):
        out("s3://bucket/valley.tif")
    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", "/data:/more")
    assert out("/more/valley.tif") == "/data/maps/valley"


def test_products_are_chosen_in_words_and_the_classes_always_come() -> None:
    assert products_of(USUAL_PRODUCTS) == list(PRODUCTS)
    assert products_of([]) == ["classes"]
    assert products_of(["lead of the likeliest class", "vectors"]) == [
        "classes",
        "vectors",
        "margin",
    ]
    assert set(PRODUCT_WORDS.values()) == set(get_args(Product))
    with pytest.raises(InputError, match="there is no polygon;"):
        products_of(["polygon"])


def test_an_index_is_chosen_by_what_it_tells() -> None:
    output = Output(index_means=["NDVI: green plants", "EVI"])
    assert request_from(["a.tif"], "out", Rules(), Bands(), output, Advanced()).indices == (
        "NDVI",
        "EVI",
    )


def test_a_collection_and_a_monitor_share_the_request_of_a_scene(tmp_path: Path) -> None:
    template = request_from(
        [str(tmp_path)], str(tmp_path / "out"), Rules(), Bands(), Output(), Advanced()
    )
    collection = collection_from(template, Series(file_names="*_SR.tif", title="Upper valley"))
    assert (collection.template, collection.pattern, collection.title) == (
        template,
        "*_SR.tif",
        "Upper valley",
    )
    monitor = monitor_from(template, Watch(most_cloud=0.1, smallest_change=5000, expected_every=10))
    assert (monitor.max_invalid, monitor.min_change_area, monitor.expect_days) == (0.1, 5000, 10)
    assert monitor.template == template


def test_an_empty_watch_is_the_monitors_own_default() -> None:
    template = request_from(["in"], "out", Rules(), Bands(), Output(), Advanced())
    assert monitor_from(template, Watch()) == type(monitor_from(template, Watch()))(
        template=template
    )


def test_a_series_is_searched_for_where_the_form_says_so() -> None:
    template = request_from(
        ["https://stac.example/v1"],
        "out",
        Rules(),
        Bands(),
        Output(area_of_interest="a.gpkg"),
        Advanced(),
    )
    series = Series(
        search=True, collections=["s2"], dates="2024", bounds="9.1, 46, 9.6, 46.4", cloudiest=20
    )
    source = collection_from(template, series).template.source
    assert (source.paths, source.bbox) == ((), (9.1, 46.0, 9.6, 46.4))
    assert source.search == Search(
        catalogue="https://stac.example/v1",
        collections=("s2",),
        when="2024",
        aoi="a.gpkg",
        max_cloud=20,
        most=1000,
    )
    watched = monitor_from(template, Watch(search=True)).template.source
    assert watched.search == Search(catalogue="https://stac.example/v1", aoi="a.gpkg", most=1000)
    assert collection_from(template, Series()).template == template
    with pytest.raises(InputError, match=r"bounds: 9\.1, 46 has 2 numbers"):
        collection_from(template, Series(search=True, bounds="9.1, 46"))
    with pytest.raises(InputError, match="2 paths are given"):
        collection_from(
            request_from(["a", "b"], "out", Rules(), Bands(), Output(), Advanced()),
            Series(search=True),
        )


def test_a_training_gets_names_regrouping_and_recipe() -> None:
    training = training_from(
        ["a.tif", "b.tif"],
        ["a.gpkg", "b.gpkg"],
        "out",
        Labels(column="kind", classes="1=Water, 2=Forest", regroup="3=2", no_data="255"),
        Model(architecture="unet", steps=40, settings="rate=0.001, chip=256, loss=ce+dice"),
        Bands(names="red=1", mask="band=5", mask_bits=[3, 4]),
    )
    assert training.recipe == Recipe(architecture="unet", steps=40, rate=0.001, chip=256)
    assert training.sources[0].mask_bits == (3, 4)
    assert training.classes == {1: "Water", 2: "Forest"}
    assert training.regroup == {3: 2}
    assert training.labels_nodata == 255
    assert [source.paths for source in training.sources] == [("a.tif",), ("b.tif",)]
    assert (training.recipe.architecture, training.recipe.steps) == ("unet", 40)


def test_what_a_forest_has_no_setting_for_is_told_as_on_the_command_line() -> None:
    with pytest.raises(
        InputError, match="there is no setting steps; there are architecture, trees"
    ):
        training_from(
            ["a.tif"],
            ["a.gpkg"],
            "out",
            Labels(),
            Model(architecture="random-forest", steps=40),
            Bands(),
        )


@pytest.mark.parametrize(
    ("bands", "fact"),
    [
        (Bands(scale="0"), "scale: Input should be greater than 0, not 0"),
        (Bands(scale="nan"), "scale: Input should be a finite number, not nan"),
        (Bands(offset="inf"), "offset: Input should be a finite number, not inf"),
    ],
)
def test_numbers_that_make_no_reflectance_are_refused(bands: Bands, fact: str) -> None:
    with pytest.raises(InputError, match=fact):
        training_from(["a.tif"], ["a.gpkg"], "out", Labels(), Model(), bands)


def test_a_setting_that_does_not_exist_is_told_in_the_words_of_the_form() -> None:
    with pytest.raises(InputError, match="there is no setting rat; did you mean rate"):
        training_from(["a.tif"], ["a.gpkg"], "out", Labels(), Model(settings="rat=1"), Bands())


def test_all_that_the_files_of_a_scene_may_not_say_is_asked_for() -> None:
    of_stac = {"search", "bbox", "assets"}
    of_dates = {"windows", "window_method"}  # composites are made on the command line
    # the path, “Band names” and “No data”
    asked = {
        "paths",
        "bands",
        "nodata",
        *Bands.model_fields,
    }
    assert set(Source.model_fields) - of_stac - of_dates <= asked


def test_a_comparison_of_maps_gets_what_counts_as_a_change() -> None:
    changes = Changes(
        classes="Crops=Open, Cloud=", smallest_change=5000, no_data="255", simplify=False
    )
    asked = changes_from("a/classes.tif", " 'b' ", "~/out", changes, Advanced(start_afresh=True))
    assert asked == ChangeRequest(
        earlier="a/classes.tif", later="b", out=Path.home() / "out", classes={"Crops": "Open",
        "Cloud": ""},
        min_area=5000, nodata=255, simplify=0, fresh=True,
    )  # fmt: skip
    usual = changes_from("a", "b", "out", Changes(), Advanced())
    assert usual == ChangeRequest(earlier="a", later="b", out=Path("out"))


def test_the_form_of_objects_asks_for_what_the_command_line_asks_for() -> None:
    asked = objects_from(
        [" 'a.tif' "],
        "out",
        Watershed(size=90),
        Bands(scale="0.001", no_data="7"),
        Shapes(index_means=["NDVI: green plants"], area_of_interest="aoi.gpkg"),
        Passes(tile=512, start_afresh=True),
    )
    assert objects_line(asked) == (
        "landweave objects a.tif --nodata 7.0 --pixel-scale 0.001 --method watershed --size 90.0 "
        "--aoi aoi.gpkg --index NDVI --tile 512 --fresh --out out"
    )
    usual = objects_from(["x/a.tif"], "", Watershed(), Bands(), Shapes(), Passes())
    assert usual.out == Path("x/maps/a-watershed")


def test_methods_of_objects_are_tabs_with_their_settings() -> None:
    offered = asked("segment-objects")["properties"]["method"]["anyOf"]
    form = asked("segment-objects")
    tabs = [
        form["definitions"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        for one in offered
    ]
    assert {tab["properties"]["kind"]["enum"][0] for tab in tabs} == set(partitions.kinds())
    assert not any("fitted" in tab["properties"] for tab in tabs)
    names = {tab["properties"]["kind"]["enum"][0]: list(tab["properties"]) for tab in tabs}
    assert names["instances"][:3] == ["kind", "segmenter", "grid"]
    assert [kind for kind, asked_for in names.items() if "segmenter" in asked_for] == ["instances"]


def test_who_looks_first_for_instances_arrives_as_the_command_line_says_it() -> None:
    method = resolve_asked({"kind": "instances", "segmenter": " 'nets/fields' ", "depth": 9})
    asked_for = objects_from(["a.tif"], "out", method, Bands(), Shapes(), Passes())
    assert asked_for.partition == Instances(depth=9)
    assert objects_line(asked_for) == (
        "landweave objects a.tif --method instances --depth 9 --segmenter nets/fields --out out"
    )
    plain = resolve_asked({"kind": "zones"})
    assert plain == {"kind": "zones"}


@pytest.mark.parametrize("name", ["segmenter", "detector"])
def test_a_model_out_of_reach_is_refused_in_the_form_of_objects(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", str(tmp_path))
    kinds = {
        "segmenter": Looking(segmenter="/models/a"),
        "detector": MaskRcnn(detector="/models/a"),
    }
    with restrict_access(reach_of_forms()), pytest.raises(InputError, match="/models/a"):
        objects_from([f"{tmp_path}/a.tif"], "", kinds[name], Bands(), Shapes(), Passes())


def test_a_comparison_becomes_the_settings_of_evaluate() -> None:
    asked = evaluation_from(
        "m.tif", " 't.gpkg' ", "out", Comparison(map_classes="5=4, 9=", tolerance="30")
    )
    assert (asked.reference, asked.map_classes, asked.tolerance) == (
        "t.gpkg",
        {"5": "4", "9": ""},
        30,
    )
    assert asked.settings["mask"] is None
    usual = evaluation_from("m.tif", "t.gpkg", "out", Comparison())
    assert usual == Evaluation(map="m.tif", reference="t.gpkg", out="out")


OTHERS: dict[str, Any] = {
    "neighbour": "largest",
    "names": "red=1", "no_data": "7", "scale": "0.001", "offset": "0.5", "mask": "band=4",
    "mask_values": [3],
    "mask_bits": [2], "date": "2020-02-02", "products": [], "smallest_area": "77",
    "index_means": ["EVI"],
    "cluster": "slurm", "classes": "1=Water", "regroup": "3=2", "split": "blocks",
    "architecture": "unet",
    "settings": "rate=0.5", "map_classes": "5=4", "reference_classes": "6=4", "tolerance": "3",
    "grid": "map", "pixels_of_the_map": "model",
    "bounds": "9.1, 46, 9.6, 46.4", "collections": ["s2"], "dates": "2024", "cloudiest": 20.0,
    "most_cloud": 0.5,
}  # fmt: skip
"""Another value than the default, of fields where any text or number will not do."""


def outcome(group: Any) -> Any:
    """All that follows from a form in which one group is filled in so, as text."""
    told = {kind: kind() for kind in (Bands, Output, Advanced, Labels, Model)} | {
        type(group): group
    }
    bands, output, advanced = told[Bands], told[Output], told[Advanced]
    template = request_from(["https://h/a.tif"], "out", Rules(), bands, output, advanced)
    found = [
        template,
        training_from(["a.tif"], ["a.gpkg"], "out", told[Labels], told[Model], bands),
    ]
    if isinstance(group, Watch):
        found.append(monitor_from(template, group))
    elif isinstance(group, Series):
        found.append(collection_from(template, group))
    if isinstance(group, Comparison):
        found.append(evaluation_from("a.tif", "b.tif", "out", group))
    if isinstance(group, Shapes | Passes):
        shapes, passes = ({type(group): group}.get(kind, kind()) for kind in (Shapes, Passes))
        found.append(objects_from(["a.tif"], "out", Watershed(), bands, shapes, passes))
        found.append(cluster_for(passes))
    if isinstance(group, Changes):
        found.append(changes_from("a.tif", "b.tif", "out", group, advanced))
    return repr([*found, cluster_for(advanced)])


@pytest.mark.parametrize(
    ("group", "field"),
    [(group, field) for group in GROUPS for field in group.model_fields],
    ids=str,
)
def test_every_field_of_every_form_arrives(
    group: Any, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LANDWEAVE_CLUSTER", raising=False)
    needed = {"mask": "band=4"} if group is Bands and field.startswith("mask_") else {}
    if issubclass(group, Series) and field != "search":
        needed = {"search": True}  # most of the others say what to search for
    usual = group(**needed)
    value = getattr(usual, field)
    by_kind = {
        bool: lambda: not value,
        int: lambda: value + 1,
        float: lambda: value + 1.5,
        str: lambda: f"{value}x",
    }
    other = OTHERS[field] if field in OTHERS else by_kind[type(value)]()
    assert other != value
    assert outcome(group(**{**needed, field: other})) != outcome(usual)


@pytest.mark.parametrize(
    ("group", "field"),
    [
        (Bands, "mask"),
        (Output, "area_of_interest"),
        (Output, "reference"),
        (Model, "start_from"),
        (Watch, "zones"),
        (Shapes, "area_of_interest"),
    ],
    ids=str,
)
def test_every_path_of_every_form_is_within_reach_but_those_read_at_once(
    tmp_path: Path, group: Any, field: str
) -> None:
    scene, out, there = (str(tmp_path / name) for name in ("a.tif", "out", "there.tif"))

    def filled(path: str) -> None:
        told = {kind: kind() for kind in (Bands, Output, Model, Watch, Shapes)} | {
            group: group(**{field: path})
        }
        template = request_from([scene], out, Rules(), told[Bands], told[Output], Advanced())
        monitor_from(template, told[Watch])
        training_from([scene], [scene], out, Labels(), told[Model], Bands())
        objects_from([scene], out, Watershed(), told[Bands], told[Shapes], Passes())

    with restrict_access(AccessPolicy(roots=(tmp_path,))):
        filled(there)
        with pytest.raises(InputError, match=r"/etc/secret\.tif lies outside"):
            filled("/etc/secret.tif")


def test_a_form_sends_no_work_to_a_machine_that_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LANDWEAVE_ALLOWED_HOSTS", raising=False)
    with pytest.raises(InputError, match="evil"):
        cluster_for(Advanced(cluster="tcp://evil.example:8786"))


def test_an_empty_cluster_is_the_one_that_was_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANDWEAVE_CLUSTER", raising=False)
    assert cluster_for(Advanced()).kind == "local"
    monkeypatch.setenv("LANDWEAVE_CLUSTER", "tcp://scheduler:8786")
    assert cluster_for(Advanced()).kind == "tcp://scheduler:8786"
    assert cluster_for(Advanced(cluster="local", workers=3)).workers == 3


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_form_takes_its_own_defaults(flow: Any) -> None:
    """Submit sends all that the form shows, whether or not somebody touched it."""
    schema = parameter_schema(flow).model_dump_for_openapi()  # as a deployment makes it
    sent = {
        name: asked["default"] for name, asked in schema["properties"].items() if "default" in asked
    }
    assert not validate(sent, schema, ignore_required=True)
