"""Pages as a browser shows them: by light and by dark, on a desk and on a phone, from a disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from flows.reports.blocks import Column, Picture, Table
from flows.reports.html import render_html
from tests.pages import HOSTILE, PLACES, specimen

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with hostile names in every place, a picture, and a table wider than a phone."""
    folder = tmp_path_factory.mktemp("a b#c?")
    Image.new("RGB", (900, 300), "#3b7dd8").save(folder / "p.png")
    names = [name for name in HOSTILE if name.isprintable()]
    wide = Table(tuple(Column(name, number=True) for name in names), (tuple(names),))
    blocks = [
        *specimen((names * PLACES)[:PLACES]),
        wide,
        Picture("p.png", alt="<b>map</b>", anchor="a b"),
    ]
    (folder / "report.html").write_text(render_html(names[0], blocks), encoding="utf-8")
    return folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_a_page_fits_shows_its_pictures_and_asks_nobody(
    browser: Browser, report: Path, scheme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(report.as_uri())
    page.locator("img").last.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img").last.evaluate("image => image.naturalWidth") == 900
    assert page.locator("h1").inner_text() == HOSTILE[0]
    assert page.locator("script, iframe, form").count() == 0
    assert all(url.startswith(report.parent.as_uri()) for url in asked)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 26)")
    context.close()
