"""What an analyst does in a browser: fills in the form, watches the bar, looks at the map, cancels
another run."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, WebSocket, expect, sync_playwright

from flows.deployments.definitions import FLOWS
from tests.flows.deployments.test_segment_scene import draw_scene
from tests.server import call, left_by, over, run_and_wait, started, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(580)]

PATIENCE = 120_000
"""Milliseconds a page may take to show something: servers are slow while a run takes all cores."""


PER_PAGE = 10
"""Deployments that one page of the list shows."""

ALONE = (
    "--disable-background-networking",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
"""What keeps Chromium from asking for updates of its own."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *ALONE])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def hosts_asked() -> Counter[str | None]:
    """How often each host was asked for something by a page of this file."""
    return Counter()


@pytest.fixture
def page(browser: Browser, hosts_asked: Counter[str | None]) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1300, "height": 1500})
    page.set_default_timeout(PATIENCE)

    def count(asked: Request | WebSocket) -> None:
        if asked.url.startswith(("http", "ws")):
            hosts_asked[urlsplit(asked.url).hostname] += 1

    page.context.on("request", count)
    page.on("websocket", count)
    yield page
    page.close()


def keep(page: Page, name: str) -> None:
    """Leave a picture of the page where `LANDWEAVE_SCREENSHOTS` says, if it does."""
    if folder := os.environ.get("LANDWEAVE_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_the_deployments_page_offers_every_flow(address: str, page: Page) -> None:
    page.goto(f"{address}/deployments")
    for flow in sorted(flow.name for flow in FLOWS)[:PER_PAGE]:
        expect(page.get_by_text(flow, exact=True).first).to_be_visible()
    keep(page, "deployments")


def asked_for(address: str, deployment: str, scene: list[str] | str) -> dict[str, Any] | None:
    """The run of a scene that a form has asked for, within half a minute."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for run in call(
            address, "flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}}
        ):
            if run["parameters"].get("scene") == scene:
                return run
        time.sleep(0.5)
    return None


COLOURS = """image => {
    const canvas = document.createElement("canvas"), pen = canvas.getContext("2d"), counts = {};
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    pen.drawImage(image, 0, 0);
    const bytes = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    for (let at = 0; at < bytes.length; at += 4) {
        const hex = [0, 1, 2].map(i => bytes[at + i].toString(16).padStart(2, "0"));
        const colour = "#" + hex.join("");
        counts[colour] = (counts[colour] || 0) + 1;
    }
    return counts;
}"""
"""How many pixels of each colour an image on a page has, as the browser draws it."""


def largest_of(out: Path, legend: list[tuple[int, str, str]]) -> str:
    """The colour of the class with the largest area on a map."""
    with open(out / "areas.csv", encoding="utf-8") as table:
        largest = max(csv.DictReader(table), key=lambda row: float(row["area_m2"]))["class_name"]
    return next(colour for _, name, colour in legend if name == largest)


def files_open(page: Page, out: Path) -> None:
    """Assert that links on the page of a map lead to its files: pictures open, rasters and packages
    are downloaded."""
    with page.expect_popup() as opened:
        page.get_by_role("link", name="polygons over the image").click()
    picture = opened.value
    picture.wait_for_load_state()
    assert picture.locator("img").evaluate("image => image.naturalWidth") > 1000
    picture.close()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="all files").click()
    folder = opened.value
    for name in ("classes.tif", "landcover.gpkg"):
        with folder.expect_download() as coming:
            folder.get_by_role("link", name=name, exact=True).click()
        assert coming.value.path().read_bytes() == (out / name).read_bytes()
    keep(folder, "files")
    folder.close()


def test_a_form_is_filled_in_and_leaves_a_map(address: str, page: Page, tmp_path: Path) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif"), tmp_path / "out"
    deployment = call(address, "deployments/name/segment-scene/segment-scene")["id"]
    page.goto(f"{address}/deployments/deployment/{deployment}/run")
    for text in (
        "Rules",
        "Otsu",
        "Network",
        "NDVI of full cover",
        "Band names",
        "Area of interest",
        "Cluster",
    ):
        expect(
            page.get_by_text(text, exact=True).or_(page.get_by_text(f"{text} (Optional)")).first
        ).to_be_visible()
    keep(page, "all-settings")
    fields = page.locator("textarea")
    before = fields.count()
    page.get_by_role("button", name="Add item").first.click()
    expect(fields).to_have_count(before + 1)  # else the first is still another
    for place, text in enumerate((scene, out)):
        fields.nth(place).fill(str(text))
        expect(fields.nth(place)).to_have_value(str(text))
    page.get_by_role("button", name="Submit").click()

    asked = asked_for(address, deployment, [str(scene)])
    assert asked is not None
    expect(page).to_have_url(re.compile(rf"/deployments/deployment/{deployment}(\?|$)"))
    run = over(address, asked)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["parameters"]["scene"] == [str(scene)]
    page.goto(f"{address}/runs/flow-run/{run['id']}")
    expect(page.get_by_text("Completed").first).to_be_visible()
    keep(page, "run")

    page.goto(f"{address}/artifacts/artifact/{left_by(address, run)['land-cover-scene']['id']}")
    expect(page.get_by_text("Open it in QGIS")).to_be_visible()
    expect(page.get_by_text(str(out / "landcover.gpkg")).first).to_be_visible()
    line = page.locator("code", has_text="landweave segment").inner_text()
    assert shlex.split(line.replace("\\\n", "")) == [
        "landweave",
        "segment",
        str(scene),
        "--out",
        str(out),
    ]
    legend = json.loads((out / "run.json").read_text(encoding="utf-8"))["legend"]
    shown = page.locator("img[src^='data:image/png']").first.evaluate(COLOURS)
    water = next(colour for _, name, colour in legend if name == "Water")
    assert shown[water] > 1000
    squares = page.locator("table").first.locator("img[src^='data:image/png']")
    assert list(squares.nth(0).evaluate(COLOURS)) == [largest_of(out, legend)]
    keep(page, "map")
    files_open(page, out)
    page.goto(f"{address}/artifacts/artifact/{left_by(address, run)['areas-scene']['id']}")
    expect(page.get_by_text("Water").first).to_be_visible()
    expect(page.get_by_text("25.0 %").first).to_be_visible()
    keep(page, "areas")


def choose(page: Page, field: str, words: str) -> None:
    """Choose from the drop-down of a field, by mouse."""
    asked = page.locator(
        ".schema-form-property", has=page.get_by_text(f"{field} (Optional)", exact=True)
    )
    box = asked.locator(".p-select-button__control")
    box.click()
    page.get_by_role("option", name=words).click()
    expect(box).to_contain_text(words)


def test_a_quick_run_is_filled_in_by_mouse(address: str, browser: Browser, tmp_path: Path) -> None:
    scene, out = draw_scene(tmp_path / "meadow.tif"), tmp_path / "out"
    deployment = call(address, "deployments/name/map-scene/map-scene")["id"]
    page = browser.new_page(viewport={"width": 1920, "height": 1080})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}/deployments/deployment/{deployment}")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Quick run", exact=True).click()
    fields = page.get_by_role("dialog").locator("textarea")
    fields.nth(0).fill(str(scene))
    fields.nth(1).fill(str(out))
    choose(page, "method", "Plants or not (Otsu's threshold of NDVI)")
    choose(page, "sensor", "as the file says")
    keep(page, "form")
    page.get_by_role("dialog").get_by_role("button", name="Run", exact=True).click()
    run = wait_until(lambda: asked_for(address, deployment, str(scene)), 60)
    page.close()
    assert over(address, run)["state_type"] == "COMPLETED"
    assert run["name"] == "meadow · Plants or not"
    assert (
        json.loads((out / "run.json").read_text(encoding="utf-8"))["request"]["segmenter"]["kind"]
        == "otsu"
    )


def at_work(left: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The bar of a run, once it counts shards."""
    bar = left.get("progress-segment-scene")
    return bar if bar is not None and "shards" in bar["description"] else None


def test_the_short_form_shows_what_it_lacks_and_no_more_than_a_page(
    address: str, page: Page
) -> None:
    deployment = call(address, "deployments/name/map-scene/map-scene")["id"]
    page.goto(f"{address}/deployments/deployment/{deployment}/run")
    submit = page.get_by_role("button", name="Submit")
    submit.click()
    lacks = page.get_by_text(re.compile("required property"))
    expect(lacks).to_be_visible()
    between = submit.bounding_box(), lacks.bounding_box()
    assert between[0] is not None
    assert between[1] is not None
    assert between[0]["y"] - between[1]["y"] < page.viewport_size["height"]  # type: ignore[index]  # it has one
    keep(page, "short-form")


def test_an_inspection_links_to_the_form_filled_in(
    address: str, page: Page, tmp_path: Path
) -> None:
    scene = draw_scene(tmp_path / "scene.tif")
    run = run_and_wait(address, {"scene": str(scene)}, "inspect-scene")
    page.goto(f"{address}/artifacts/artifact/{left_by(address, run)['inspection-scene']['id']}")
    keep(page, "inspection")
    for form, fields in (("map-scene", [str(scene), ""]), ("segment-scene", [str(scene), ""])):
        address_of_form = page.get_by_role(
            "link", name=f"Fill in the form of {form}"
        ).get_attribute("href")
        assert address_of_form is not None
        page.goto(address_of_form)
        for place, text in enumerate(fields):
            expect(page.locator("textarea").nth(place)).to_have_value(text)
        page.go_back()


def test_a_run_shows_its_bar_and_is_cancelled(address: str, page: Page, tmp_path: Path) -> None:
    from tests.scenes import draw_scene as draw_large_scene

    parameters = {
        "scene": [str(draw_large_scene(tmp_path / "large.tif", 2048, 2048))],
        "output_folder": str(tmp_path / "out"),
        "segmenter": {"kind": "network", "tile": 128},
        "advanced": {"shard": 128, "workers": 2},
    }
    run = started(address, "segment-scene", parameters)
    bar = wait_until(lambda: at_work(left_by(address, run)), 200)
    page.goto(f"{address}/artifacts/artifact/{bar['id']}")
    expect(page.get_by_text(re.compile(r"segment: \d+/256 shards")).first).to_be_visible()
    keep(page, "progress")

    page.goto(f"{address}/runs/flow-run/{run['id']}")
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    asked = time.monotonic()
    assert over(address, run)["state_type"] == "CANCELLED"
    assert time.monotonic() - asked < 60
    assert left_by(address, run)["progress-segment-scene"]["description"].startswith(
        "cancelled; segment: "
    )
    expect(page.get_by_text("Cancelled", exact=True).first).to_be_visible()
    keep(page, "cancelled")


def test_a_wrong_path_shows_the_mend_and_no_traceback(
    address: str, page: Page, tmp_path: Path
) -> None:
    run = run_and_wait(address, {"scene": ["no-such.tif"], "output_folder": str(tmp_path / "out")})
    assert run["state_type"] == "FAILED"
    page.goto(f"{address}/runs/flow-run/{run['id']}")
    expect(page.get_by_text("no-such.tif does not exist; check the path").first).to_be_visible()
    assert "Traceback" not in page.content()
    keep(page, "mistake")


def test_the_pages_ask_no_other_host(
    address: str, page: Page, hosts_asked: Counter[str | None]
) -> None:
    for place in ("dashboard", "runs", "flows", "artifacts", "events", "settings"):
        page.goto(f"{address}/{place}")
        page.wait_for_load_state("networkidle")
        expect(page.get_by_text(re.compile(r"switch to|V2 UI", re.IGNORECASE))).to_have_count(0)
    assert hosts_asked["127.0.0.1"] > 50
    assert set(hosts_asked) == {"127.0.0.1"}
