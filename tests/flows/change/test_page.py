"""The page of a comparison tells what its tables tell, and leads to its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flows.change.detect import change
from flows.requests.change import ChangeRequest
from tests.flows.assessment.test_evaluate import write_classes
from tests.pages import Reader


def test_the_page_of_a_change_tells_hectares_and_leads_to_every_file(tmp_path: Path) -> None:
    values = np.ones((30, 40), np.uint8)
    values[:, 30:] = 2
    before = write_classes(tmp_path / "before.tif", values)
    values = values.copy()
    values[:, :10] = 2
    now = write_classes(tmp_path / "now.tif", values)
    asked = ChangeRequest(
        earlier=str(before), later=str(now), out=tmp_path / "out",
        classes={"1": "Water <deep>", "2": "a|b"},
    )  # fmt: skip
    result = change(asked)
    page = Reader((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert f"{result.changed_m2 / 1e4:,.1f} ha" in page.texts
    assert "25.0 %" in page.texts
    assert {"Water <deep>", "a|b"} <= set(page.texts)
    places = {address for address in page.addresses if address != "./"}
    assert places == {path.name for path in result.files} - {"report.html"}
    assert all((tmp_path / "out" / place).exists() for place in places)
