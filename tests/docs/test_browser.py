"""The site as somebody reads it who opened its folder from a disk."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from docs.build import build
from tests.flows.test_ui import ALONE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


def test_search_finds_a_page_opened_from_a_disk_and_nobody_else_is_asked(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    assert build(tmp_path / "site") == []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", *ALONE]
        )
        page, asked = browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "site" / "index.html").as_uri())
        page.get_by_role("button", name="Search").first.click()
        page.get_by_placeholder("Search").press_sequentially("FlatGeobuf", delay=50)
        first = page.get_by_role("option").first
        expect(first).to_have_attribute("href", re.compile(r"docs/vectors\.html\b"))
        browser.close()
    assert asked
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
