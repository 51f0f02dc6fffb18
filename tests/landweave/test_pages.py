"""Results in a notebook: what they say is text, and no other host is asked."""

from __future__ import annotations

import re

import pandas as pd
import pytest

import landweave as lw
from landweave.pages import facts_page, run_page
from tests.landweave.conftest import Demo
from tests.pages import HOSTILE, Reader

COLUMNS = ["class_id", "class_name", "hectares", "share"]


def page_of(name: str) -> str:
    """The page of a run in which everything is called by one name."""
    legend = lw.Legend(classes=(lw.LandClass(value=1, name=name, colour="#3b7dd8"),))
    areas = pd.DataFrame([[1, name, 12.34, 1.0]], columns=COLUMNS)
    return run_page(name, areas, legend, [name], name, b"")


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "\ud800"])
def test_whatever_a_class_is_called_is_text(name: str) -> None:
    assert Reader(page_of(name)).elements == Reader(page_of("x")).elements


def test_a_page_asks_no_other_host_and_runs_nothing(demo: Demo) -> None:
    for page in (demo.run._repr_html_(), lw.models()[0]._repr_html_(), facts_page("x", {"a": 1})):
        plain = re.sub(r"data:image/png;base64,[\w+/=]+", "", page)
        assert not re.search(r"https?:|//|url\(|@import|<script|<link|<a |\son\w+=", plain)


def test_a_class_has_its_colour_and_its_area(demo: Demo) -> None:
    page = page_of("Water")
    assert 'style="background:#3b7dd8"' in page
    assert '<td class="number">12.3</td><td class="number">100.0%</td>' in page


def test_a_run_is_small_enough_for_a_notebook(demo: Demo) -> None:
    assert len(demo.run._repr_html_()) < 400_000


def test_a_long_fact_is_cut_short() -> None:
    assert len(facts_page("x", {"features": "a, " * 10_000})) < 5_000
