"""What an analyst does in a browser: fills in the form, watches the bar, looks at the map, cancels another run."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, WebSocket, expect, sync_playwright

from tests.flows.test_segment import draw_scene
from tests.server import call, left_by, over, run_and_wait, started, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(580)]

PATIENCE = 120_000
"""Milliseconds a page may take to show something: servers are slow while a run takes all cores."""


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
    for flow in ("segment-scene", "segment-collection", "land-use-monitor", "train-network", "evaluate-map"):
        expect(page.get_by_text(flow, exact=True).first).to_be_visible()
    keep(page, "deployments")


def asked_for(address: str, deployment: str, scene: Path) -> dict[str, Any] | None:
    """The run of a scene that a form has asked for, within half a minute."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for run in call(address, "flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}}):
            if run["parameters"].get("scene") == [str(scene)]:
                return run
        time.sleep(0.5)
    return None


def test_a_form_is_filled_in_and_leaves_a_map(address: str, page: Page, tmp_path: Path) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif"), tmp_path / "out"
    deployment = call(address, "deployments/name/segment-scene/segment-scene")["id"]
    page.goto(f"{address}/deployments/deployment/{deployment}/run")
    for text in ("Rules", "Otsu", "Network", "NDVI of full cover", "Band names", "Area of interest", "Cluster"):
        expect(page.get_by_text(text, exact=True).or_(page.get_by_text(f"{text} (Optional)")).first).to_be_visible()
    keep(page, "form")
    fields = page.locator("textarea")
    before = fields.count()
    page.get_by_role("button", name="Add item").first.click()
    expect(fields).to_have_count(before + 1)  # else the first is still another
    for place, text in enumerate((scene, out)):
        fields.nth(place).fill(str(text))
        expect(fields.nth(place)).to_have_value(str(text))
    page.get_by_role("button", name="Submit").click()

    asked = asked_for(address, deployment, scene)
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
    shown = page.locator("img[src^='data:image/png']").evaluate("image => image.naturalWidth")
    assert shown > 100
    keep(page, "map")
    page.goto(f"{address}/artifacts/artifact/{left_by(address, run)['areas-scene']['id']}")
    expect(page.get_by_text("Water").first).to_be_visible()
    expect(page.get_by_text("25.0 %").first).to_be_visible()
    keep(page, "areas")


def test_a_run_shows_its_bar_and_is_cancelled(address: str, page: Page, tmp_path: Path) -> None:
    from tests.scenes import draw_scene as draw_large_scene

    parameters = {
        "scene": [str(draw_large_scene(tmp_path / "large.tif", 2048, 2048))],
        "output_folder": str(tmp_path / "out"),
        "segmenter": {"kind": "network", "tile": 128},
        "advanced": {"shard": 128, "workers": 2},
    }
    run = started(address, "segment-scene", parameters)
    bar = wait_until(lambda: left_by(address, run).get("progress-segment-scene"), 200)
    page.goto(f"{address}/artifacts/artifact/{bar['id']}")
    expect(page.get_by_text(re.compile(r"\d+/256 shards")).first).to_be_visible()
    keep(page, "progress")

    page.goto(f"{address}/runs/flow-run/{run['id']}")
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    asked = time.monotonic()
    assert over(address, run)["state_type"] == "CANCELLED"
    assert time.monotonic() - asked < 60
    expect(page.get_by_text("Cancelled", exact=True).first).to_be_visible()
    keep(page, "cancelled")


def test_a_wrong_path_shows_the_mend_and_no_traceback(address: str, page: Page, tmp_path: Path) -> None:
    run = run_and_wait(address, {"scene": ["no-such.tif"], "output_folder": str(tmp_path / "out")})
    assert run["state_type"] == "FAILED"
    page.goto(f"{address}/runs/flow-run/{run['id']}")
    expect(page.get_by_text("no-such.tif does not exist; check the path").first).to_be_visible()
    assert "Traceback" not in page.content()
    keep(page, "mistake")


def test_the_pages_ask_no_other_host(address: str, page: Page, hosts_asked: Counter[str | None]) -> None:
    for place in ("dashboard", "runs", "flows", "artifacts", "events", "settings"):
        page.goto(f"{address}/{place}")
        page.wait_for_load_state("networkidle")
    assert hosts_asked["127.0.0.1"] > 50
    assert set(hosts_asked) == {"127.0.0.1"}
