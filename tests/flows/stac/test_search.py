"""A scene that is looked for in a catalogue: found, put together, mapped, and published as an
item."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from pystac.extensions.projection import ProjectionExtension
from typer.testing import CliRunner

from flows.cli import app
from flows.plan.describe import describe
from flows.plan.fit import calibrate
from flows.plan.plan import make_plan
from flows.requests.request import Request
from flows.requests.series import CollectionRequest, MonitorRequest
from flows.requests.source import Source
from flows.run import pipeline
from flows.series.collection import collect
from flows.series.monitor import monitor
from flows.stac import api as api_module
from flows.stac.query import Search
from flows.stac.search import by_day, find
from flows.storage.remote import Remote
from segmentation.classical.rules import Levels, Rules
from segmentation.classical.thresholds import Otsu
from tests.s3 import BUCKET, s3
from tests.scenes import BANDS, draw_pixels, read
from tests.segmentation.models.test_stac_mlm import SCHEMAS, STAC, uri
from tests.stac import asset, catalogue, item, serving
from tests.tiling.rasters import write
from tiling.errors import InputError
from tiling.io.access import AccessPolicy, restrict_access

TOP = 5_300_000


def drawn(folder: Path) -> list[dict[str, Any]]:
    """Six items: three days of two overlapping tiles, the western one of another UTM zone half of
    the time."""
    folder.mkdir(exist_ok=True)
    items = []
    for number, (day, cloud) in enumerate(
        [("2024-05-03", 40.0), ("2024-05-13", 5.0), ("2024-06-02", 20.0)]
    ):
        pixels = draw_pixels(70, 150, seed=number)
        for side, col in (("west", 0), ("east", 60)):
            part = pixels[:, :, col : col + 90]
            place = rasterio.transform.from_origin(500_000 + 10 * col, TOP, 10, 10)
            name = f"S2B_{day}_{side}"
            path = write(folder / f"{name}.tif", part, transform=place, nodata=0)
            assets = {"data": asset(path, BANDS, scale=0.0001, offset=0)}
            items.append(
                item(name, assets, day=day, cloud=cloud + (side == "east"), platform="sentinel-2b")
            )
    other = write(folder / "other.tif", draw_pixels(20, 20), nodata=0)
    items.append(
        item("other", {"data": asset(other, BANDS)}, day="2024-05-13", collection="elsewhere")
    )
    return items


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return drawn(tmp_path_factory.mktemp("imagery"))


def refused(search: Search, *bbox: float) -> str:
    with pytest.raises(InputError) as caught:
        find(search, bbox or None)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------- searching


def both_ways(items: list[dict[str, Any]], tmp_path: Path, **wishes: Any) -> list[str]:
    """What a search finds in a catalogue of files and in an API, asked by POST and by GET."""
    bbox = wishes.pop("bbox", None)
    found = [
        [i.id for i in find(Search(catalogue=catalogue(tmp_path / "files", items), **wishes), bbox)]
    ]
    for methods in (("GET", "POST"), ("GET",)):
        with serving(items, methods=methods) as api:
            found.append([i.id for i in find(Search(catalogue=api.url, **wishes), bbox)])
            assert {method for method, _ in api.asked} == {methods[-1]}
    assert found[0] == found[1] == found[2]
    return found[0]


def test_the_least_cloudy_and_then_the_newest_come_first(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    may, mid, june = ("S2B_2024-05-03", "S2B_2024-05-13", "S2B_2024-06-02")
    order = [f"{day}_{side}" for day in (mid, june, may) for side in ("west", "east")]
    assert both_ways(items, tmp_path) == [*order, "other"]
    alike = [
        {**one, "properties": {"datetime": one["properties"]["datetime"]}} for one in items[:6]
    ]
    newest = [f"{day}_{side}" for day in (june, mid, may) for side in ("east", "west")]
    assert both_ways(alike, tmp_path) == newest


@pytest.mark.parametrize(
    ("wishes", "count"),
    [
        ({"when": "2024-05"}, 5),
        ({"when": "2024-05-13"}, 3),
        ({"when": "2024-05-04/2024-06"}, 5),
        ({"when": "../2024-05-03"}, 2),
        ({"collections": ("drawn",)}, 6),
        ({"collections": ("drawn", "elsewhere"), "when": "2024-06/.."}, 2),
        ({"max_cloud": 20}, 3),
        ({"bbox": (14.9, 47.0, 15.0001, 48.0)}, 3),
    ],
)
def test_a_search_finds_the_same_in_files_and_in_an_api(
    items: list[dict[str, Any]], tmp_path: Path, wishes: dict[str, Any], count: int
) -> None:
    assert len(both_ways(items, tmp_path, **wishes)) == count


def test_the_area_of_interest_is_searched_where_there_is_no_bbox(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    aoi = tmp_path / "aoi.gpkg"
    geopandas.GeoDataFrame(
        geometry=[shapely.box(501_300, TOP - 200, 501_400, TOP)], crs="EPSG:32633"
    ).to_file(aoi)
    found = find(Search(catalogue=catalogue(tmp_path, items), aoi=str(aoi)))
    assert {i.id.rpartition("_")[2] for i in found} == {"east"}


def test_every_page_of_an_api_is_asked_for_and_too_many_items_are_refused(
    items: list[dict[str, Any]],
) -> None:
    with serving(items, page=3) as api:
        assert len(find(Search(catalogue=api.url))) == 7
        assert len(api.asked) == 3
        assert "more than 4 items match" in refused(Search(catalogue=api.url, most=4))


def test_what_is_not_found_is_said_with_what_was_looked_for(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    place = catalogue(tmp_path, items)
    sentence = refused(
        Search(catalogue=place, collections=("drawn",), when="2023", max_cloud=30), 10, 45, 20, 50
    )
    assert (
        f"nothing was found in {place}, collection drawn, dates 2023, bbox 10,45,20,50, at most "
        "30 % cloud" in sentence
    )
    assert "7 are cloudier or do not tell" in refused(Search(catalogue=place, max_cloud=1))
    assert "is no date" in refused(Search(catalogue=place, when="last summer"))
    assert "is not west,south,east,north" in refused(Search(catalogue=place), 20, 45, 10, 50)


def test_an_api_that_stumbles_is_asked_again_and_one_that_fails_is_told_of(
    items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(items, failures=[503, 429]) as api:
        assert len(find(Search(catalogue=api.url, collections=("drawn",)))) == 6
        assert len(api.asked) == 2 + 3
        assert "does not answer the search (400: " in refused(
            Search(catalogue=api.url), 179.5, 0, 180, 1
        )
    gone = api.url
    assert f"{gone} does not answer" in refused(Search(catalogue=gone))
    monkeypatch.setattr(api_module, "TIMEOUT", (0.2, 0.2))
    monkeypatch.setattr(api_module, "AGAIN", 0)
    with serving(items, silent=threading.Event()) as api:
        assert "timed out" in refused(Search(catalogue=api.url))


def test_what_is_no_catalogue_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused(Search(catalogue=str(tmp_path / "x.json")))
    assert "is no file" in refused(Search(catalogue=str(tmp_path)))
    for text, fact in (
        ("<html>", "is no JSON"),
        ("[]", "is no STAC API"),
        ('{"type": "Feature"}', "has no id"),
    ):
        (tmp_path / "x.json").write_text(text)
        assert fact in refused(Search(catalogue=str(tmp_path / "x.json")))


def test_a_search_goes_no_further_than_whoever_runs_this_allows(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    with restrict_access(AccessPolicy(roots=(tmp_path,), hosts=())):
        assert "lies on 127.0.0.1" in refused(Search(catalogue="http://127.0.0.1:1/"))
    with (
        serving(items, next_at="http://elsewhere.invalid") as api,
        restrict_access(AccessPolicy(hosts=("127.0.0.1",))),
    ):
        assert "lies on elsewhere.invalid" in refused(Search(catalogue=api.url))
    with (
        serving(items, moved="http://elsewhere.invalid/") as api,
        restrict_access(AccessPolicy(hosts=("127.0.0.1",))),
    ):
        assert "lies on elsewhere.invalid" in refused(Search(catalogue=f"{api.url}/moved"))
        api.moved = api.url
        assert len(find(Search(catalogue=f"{api.url}/moved"))) == 7


def test_a_catalogue_that_leads_in_circles_is_walked_once(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    place = Path(catalogue(tmp_path, items))
    content = json.loads(place.read_text())
    content["links"] += [{"rel": "child", "href": "./catalog.json"}, *content["links"]]
    place.write_text(json.dumps(content))
    assert len(find(Search(catalogue=str(place)))) == 7


# ------------------------------------------------------------------------------------------ mapping


def request(
    place: str, out: Path, *, bbox: Any = None, paths: tuple[str, ...] = (), **wishes: Any
) -> Request:
    known = {key: wishes.pop(key) for key in ("when", "max_cloud", "aoi") if key in wishes}
    search = None if paths else Search(catalogue=place, collections=("drawn",), **known)
    return Request(
        source=Source(paths=paths, search=search, bbox=bbox),
        out=out,
        **{"segmenter": Rules(), "products": ("classes",), **wishes},
    )


@pytest.mark.slow
def test_a_mosaics_map_does_not_depend_on_the_cut_and_a_second_run_has_nothing_to_do(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    place = catalogue(tmp_path / "files", items)
    pipeline.run(request(place, tmp_path / "a", when="2024-05"))
    classes = read(tmp_path / "a" / "classes.tif")
    assert classes.shape == (70, 150)
    assert len(np.unique(classes)) > 3
    pipeline.run(request(place, tmp_path / "b", when="2024-05", shard=33))
    assert np.array_equal(read(tmp_path / "b" / "classes.tif"), classes)
    with serving(items) as api:
        pipeline.run(request(api.url, tmp_path / "c", when="2024-05"))
    assert np.array_equal(read(tmp_path / "c" / "classes.tif"), classes)

    parts = {part.name: part.stat().st_mtime_ns for part in (tmp_path / "b" / "parts").iterdir()}
    pipeline.run(request(place, tmp_path / "b", when="2024-05", shard=33))
    assert {
        part.name: part.stat().st_mtime_ns for part in (tmp_path / "b" / "parts").iterdir()
    } == parts
    lower = Path(items[0]["assets"]["data"]["href"])  # of the cloudiest day, beneath all others
    stamp = lower.stat()
    os.utime(lower, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 10**9))
    pipeline.run(request(place, tmp_path / "b", when="2024-05", shard=33))
    assert set(parts) < {part.name for part in (tmp_path / "b" / "parts").iterdir()}


def test_named_items_are_a_scene_too(items: list[dict[str, Any]], tmp_path: Path) -> None:
    catalogue(tmp_path / "files", items)
    paths = tuple(
        map(
            str,
            sorted((tmp_path / "files" / "drawn").glob("*/S2B_2024-05-13_*.json"), reverse=True),
        )
    )
    found = request(
        str(tmp_path / "files" / "catalog.json"), tmp_path / "a", when="2024-05-13"
    ).source.open()
    named = request("", tmp_path / "b", paths=paths).source.open()
    assert named == found
    assert named.title == "S2B_2024-05-13_west and 1 more"
    raster = items[0]["assets"]["data"]["href"]
    for source, fact in (
        (Source(paths=(*paths, raster)), "stands among STAC items"),
        (
            Source(paths=paths, search=Search(catalogue="x.json")),
            "give a scene, or what to look for",
        ),
        (Source(paths=(raster,), bbox=(0, 0, 1, 1)), "--bbox is for STAC items"),
        (Source(), "no scene was given"),
    ):
        with pytest.raises(InputError, match=fact):
            source.open()


def test_a_plan_says_what_was_found_in_which_order_and_how_much_it_covers(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    place = catalogue(tmp_path / "files", items)
    wishes = ("--collection", "drawn", "--datetime", "2024-05", "--segmenter", "rules")
    run = CliRunner().invoke(app, ["plan", "--stac", place, *wishes, "--json"])
    assert run.exit_code == 0, run.output
    facts = json.loads(run.stdout)
    assert (facts["width"], facts["height"], facts["crs"]) == (150, 70, "EPSG:32633")
    assert (facts["pixel_size"], facts["first_pixel"]) == ([10, 10], [500_000, 5_300_000])
    assert facts["covered"] == pytest.approx(1, abs=1e-6)
    assert facts["images"][0] == {"name": "S2B_2024-05-13_west", "date": "2024-05-13"}
    said = (
        CliRunner().invoke(app, ["plan", "--stac", place, *wishes], env={"COLUMNS": "400"}).stdout
    )
    assert "S2B_2024-05-13_west and 3 more: 150 × 70 px, EPSG:32633" in said
    assert "4, the first that has a pixel shows it: S2B_2024-05-13_west (2024-05-13), S2B_" in said
    assert "pixels of 10 × 10 in EPSG:32633, the first at 500000, 5300000" in said
    assert "100.0 % of the scene, by the catalogue's footprints" in said
    aoi = tmp_path / "aoi.gpkg"
    geopandas.GeoDataFrame(
        geometry=[shapely.box(501_400, TOP - 200, 501_600, TOP)], crs="EPSG:32633"
    ).to_file(aoi)
    asked = Request(
        source=Source(search=Search(catalogue=place, collections=("drawn",), when="2024-05")),
        out=tmp_path / "run", segmenter=Rules(), aoi=str(aoi),
    )  # fmt: skip
    assert (
        describe(make_plan(asked))["covered"]
        == "50.0 % of the area of interest, by the catalogue's footprints"
    )
    for option, fact in (
        (["--datetime", "1999"], "nothing was found in"), (["--bbox", "1,2"], "has 2 numbers"),
    ):  # fmt: skip
        run = CliRunner().invoke(app, ["plan", "--stac", place, *option])
        assert run.exit_code != 0
        assert fact in str(run.exception or run.output)


# ---------------------------------------------------------------- what a catalogue says, and pixels


def encoded(tmp_path: Path, added: int, offset: float) -> dict[str, Any]:
    """Sentinel-2 with something dark in it, stored with `added` and said to be stored with
    `offset`."""
    pixels = draw_pixels(200, 200, seed=5).astype("int32")
    pixels = np.where(pixels > 0, pixels + added, 0).astype("uint16")
    path = write(tmp_path / f"{added}.tif", pixels, nodata=0)
    return item(
        "S2B_one", {"data": asset(path, BANDS, scale=0.0001, offset=offset)}, platform="sentinel-2b"
    )


@pytest.mark.parametrize(
    ("added", "offset", "believed", "warned"),
    [(1000, -0.1, -0.1, False), (0, 0, 0, False), (0, -0.1, 0, True), (1000, 0, -0.1, True)],
)
def test_pixels_are_believed_rather_than_what_a_catalogue_says_of_them(
    tmp_path: Path, added: int, offset: float, believed: float, warned: bool
) -> None:
    place = tmp_path / "one.json"
    place.write_text(json.dumps(encoded(tmp_path, added, offset)))
    plan = make_plan(request("", tmp_path / "run", paths=(str(place),)))
    assert {(band.scale, band.offset) for band in plan.scene.bands if band.name in plan.bands} == {
        (0.0001, believed)
    }
    assert [f"the pixels show × 0.0001 {believed:+g}" in warning for warning in plan.warnings] == [
        True
    ] * warned
    record = pipeline.run(request("", tmp_path / "run", paths=(str(place),))).record
    assert len(record["warnings"]) == warned
    again = pipeline.run(
        request("", tmp_path / "run", paths=(str(place),))
    ).record  # as it was remembered
    assert again["warnings"] == record["warnings"]
    told = Source(paths=(str(place),), scale=0.0001, offset=offset)
    insisted = make_plan(Request(source=told, out=tmp_path / "run", segmenter=Rules()))
    assert {band.offset for band in insisted.scene.bands} == {offset}
    # Whoever insists on no offset where pixels show one is told of it, and has their way.
    assert ["--offset -0.1" in warning for warning in insisted.warnings] == [True] * (
        added - 1e4 * -offset > 0
    )


def test_thermal_bands_keep_the_scale_that_the_catalogue_says(tmp_path: Path) -> None:
    said = encoded(tmp_path, 1000, -0.1)
    heat = write(tmp_path / "heat.tif", draw_pixels(200, 200, seed=5)[3] + 40_000, nodata=0)
    said["assets"]["lwir11"] = asset(heat, ("lwir11",), scale=0.003418, offset=149.0)
    place = tmp_path / "one.json"
    place.write_text(json.dumps(said))
    source = Source(paths=(str(place),))
    plan = make_plan(Request(source=source, out=tmp_path / "run", segmenter=Otsu(index="lwir11")))
    assert (plan.scene.band("lwir11").scale, plan.scene.band("lwir11").offset) == (0.003418, 149)
    assert plan.warnings == ()
    wrong = encoded(tmp_path, 0, -0.1)
    wrong["assets"]["lwir11"] = said["assets"]["lwir11"]
    place.write_text(json.dumps(wrong))
    opened = source.open()
    found = calibrate(opened, opened.band_names)
    assert {band.name: band.offset for band in found.bands} == dict.fromkeys(BANDS, 0.0) | {
        "lwir11": 149.0
    }
    assert found.band("lwir11").scale == 0.003418


# ---------------------------------------------------------------------------------------- many days


@pytest.mark.slow
def test_each_day_of_a_search_is_a_scene_of_a_collection(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    place = catalogue(tmp_path / "files", items)
    template = request(place, tmp_path / "out")
    assert template.source.search is not None
    days = by_day(template.source.search)
    assert [str(day) for day in days] == ["2024-05-03", "2024-05-13", "2024-06-02"]
    assert [len(places) for places in days.values()] == [2, 2, 2]
    result = collect(CollectionRequest(template=template))
    assert [(entry.name, entry.date, entry.status) for entry in result.entries] == [
        (str(day), str(day), "done") for day in days
    ]
    assert collect(CollectionRequest(template=template)).made == ()
    wider = template.model_copy(
        update={"source": Source(search=Search(catalogue=place, collections=("drawn",), most=7))}
    )
    # the same images, found in another way
    assert collect(CollectionRequest(template=wider)).made == ()
    alone = pipeline.run(request(place, tmp_path / "alone", when="2024-06-02"))
    assert np.array_equal(
        read(tmp_path / "out" / "2024-06-02" / "classes.tif"), read(alone.folder / "classes.tif")
    )  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_monitor_looks_into_a_catalogue_and_does_what_is_new(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    place = catalogue(tmp_path / "files", [])
    watch = MonitorRequest(
        template=request(place, tmp_path / "out"), max_invalid=1, settle_seconds=0
    )
    assert monitor(watch).made == ()  # whoever waits for images has not made a mistake
    catalogue(tmp_path / "files", items[:4])
    assert monitor(watch).made == ("2024-05-03", "2024-05-13")
    catalogue(tmp_path / "files", items)
    seen = monitor(watch)
    assert seen.made == ("2024-06-02",)
    assert len(seen.series.changes) == 2


# -------------------------------------------------------------------------------- a run, as an item


def check(content: dict[str, Any]) -> None:
    """Raise where an item breaks a published schema; that of projections is not at hand, and pystac
    reads it."""
    from jsonschema import Draft7Validator
    from pystac.validation.local_validator import get_local_schema_cache
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT7

    known = get_local_schema_cache() | {
        uri(file): json.loads(file.read_text()) for file in SCHEMAS.glob("*-v*.json")
    }
    registry: Registry[Any] = Registry().with_resources(
        (where, Resource({k: v for k, v in schema.items() if k != "$id"}, DRAFT7))
        for where, schema in known.items()
    )
    wanted = [where for where in content["stac_extensions"] if "/projection/" not in where]
    assert len(wanted) == 2
    for where in (STAC, *wanted):
        Draft7Validator({"$ref": where}, registry=registry).validate(content)


def test_a_run_is_a_valid_item_that_says_what_it_is_and_where_it_came_from(
    items: list[dict[str, Any]], tmp_path: Path
) -> None:
    with serving(items) as api:
        done = pipeline.run(
            request(api.url, tmp_path / "run", when="2024-05", products=("classes", "vectors"))
        )
        origins = [
            f"{api.url}/items/{name}" for name in ("S2B_2024-05-13_west", "S2B_2024-05-13_east")
        ]
    assert tmp_path / "run" / "item.json" in done.files
    content = json.loads((tmp_path / "run" / "item.json").read_text())
    check(content)
    assert [link["href"] for link in content["links"] if link["rel"] == "derived_from"][
        :2
    ] == origins
    told = content["assets"]["classes"]["classification:classes"]
    assert [(row["value"], row["title"], f"#{row['color_hint']}".lower()) for row in told] == [
        (value, name, colour.lower())
        for value, name, colour in Rules(fitted=Levels(shortwave=True)).legend.rows
    ]
    found = pystac.Item.from_file(str(tmp_path / "run" / "item.json"))
    assert found.datetime is None
    assert found.properties["start_datetime"] == "2024-05-03T00:00:00Z"
    assert found.properties["end_datetime"] == "2024-05-13T23:59:59Z"
    assert ProjectionExtension.ext(found).code == "EPSG:32633"
    assert ProjectionExtension.ext(found).shape == [70, 150]
    assert ProjectionExtension.ext(found).transform == [10, 0, 500_000, 0, -10, TOP]
    for one in found.assets.values():
        assert Path(str(one.get_absolute_href())).exists()
    assert {"classes", "landcover", "areas", "quicklook", "report", "run"} == set(found.assets)


@pytest.mark.parametrize("date", ["2024-07-31", None])
def test_a_run_of_a_plain_raster_is_an_item_too(tmp_path: Path, date: str | None) -> None:
    path = write(tmp_path / "a.tif", draw_pixels(60, 60), nodata=0, names=BANDS, scale=0.0001)
    source = Source.model_validate({"paths": (path,), "date": date})
    pipeline.run(
        Request(source=source, out=tmp_path / "run", segmenter=Rules(), products=("classes",))
    )
    content = json.loads((tmp_path / "run" / "item.json").read_text())
    check(content)
    assert content["properties"]["datetime"] == (f"{date}T00:00:00Z" if date else None)
    assert [link for link in content["links"] if link["rel"] == "derived_from"] == []
    # What a run leaves can be found and read by the next.
    (found,) = find(Search(catalogue=str(tmp_path / "run" / "item.json")))
    assert found.id == "a"


def test_signatures_are_nowhere_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item whose links are signed by query strings, as some clouds hand them out."""
    from tiling.errors import redact

    signed = "https://host/a.tif?se=2026-11-21T00%3A00%3A00Z&sp=rl&sig=abc%3D&sv=2024"
    assert redact(signed) == "https://host/a.tif?se=…&sp=…&sig=…&sv=…"
    assert (
        redact("https://host/a.tif?size=3&service=wms") == "https://host/a.tif?size=3&service=wms"
    )


@pytest.mark.slow
def test_a_catalogue_and_its_imagery_may_lie_on_an_object_store(
    items: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDWEAVE_SCRATCH", str(tmp_path / "scratch"))
    pipeline.run(
        request(catalogue(tmp_path / "files", items), tmp_path / "here", when="2024-05-13")
    )
    with s3():
        moved = []
        for one in items:
            file = Path(one["assets"]["data"]["href"])
            Remote(f"s3://{BUCKET}/pixels/{file.name}").upload(file)
            data = {**one["assets"]["data"], "href": f"../../../pixels/{file.name}"}
            moved.append({**one, "assets": {"data": data}})
        catalogue(tmp_path / "moved", moved)
        for file in (tmp_path / "moved").rglob("*.json"):
            Remote(f"s3://{BUCKET}/cat/{file.relative_to(tmp_path / 'moved')}").upload(file)
        place = f"s3://{BUCKET}/cat/catalog.json"
        pipeline.run(request(place, Remote(f"s3://{BUCKET}/mapped"), when="2024-05-13"))  # type: ignore[arg-type]
        content = (Remote(f"s3://{BUCKET}/mapped") / "classes.tif").read_bytes()
        told = json.loads((Remote(f"s3://{BUCKET}/mapped") / "item.json").read_bytes())
        assert f"{BUCKET}/cat/none.json does not exist" in refused(
            Search(catalogue=f"s3://{BUCKET}/cat/none.json")
        )
    with rasterio.MemoryFile(content) as memory, memory.open() as dataset:
        assert np.array_equal(dataset.read(1), read(tmp_path / "here" / "classes.tif"))
    origin = f"s3://{BUCKET}/cat/drawn/S2B_2024-05-13_west/S2B_2024-05-13_west.json"
    assert told["links"][0]["href"] == origin


# --------------------------------------------------------------------------------------- real files


def test_years_of_real_imagery_are_found_and_mapped(shared_data: Path, tmp_path: Path) -> None:
    names = ("red", "green", "blue", "nir")
    real = [
        item(
            path.stem,
            {"image": asset(path, names, nodata=0)},
            day=f"{path.stem[-8:-4]}-07-01",
            collection="naip",
        )
        for path in sorted((shared_data / "naip_nd_multiyear").glob("*.tif"))
    ]
    with serving(real) as api:
        source = Source(
            search=Search(catalogue=api.url, collections=("naip",), when="2014/2020"),
            bbox=(-99.18, 47.01, -99.15, 47.03),
        )
        ndvi = Request(
            source=source, out=tmp_path / "run", segmenter=Otsu(index="NDVI"), products=("classes",)
        )
        done = pipeline.run(ndvi)
    assert [image["name"][-8:-4] for image in done.record["scene"]["images"]] == [
        "2020",
        "2017",
        "2014",
    ]
    with rasterio.open(tmp_path / "run" / "classes.tif") as source_:
        classes = source_.read(1)
        assert source_.res == (5, 5)
    assert (classes > 0).all()
