"""The picture of what a setting was chosen by: there where one was, and on the run's page."""

from __future__ import annotations

from pathlib import Path

from flows.requests.request import Request
from flows.requests.segmenters import segmenter_from
from flows.requests.source import Source
from flows.run.pipeline import run
from tests.scenes import draw_scene


def test_a_run_that_chose_a_number_shows_what_by(tmp_path: Path) -> None:
    draw_scene(tmp_path / "scene.tif", 48, 64)
    source, out = Source(paths=(str(tmp_path / "scene.tif"),)), tmp_path / "out"

    def map_with(**settings: object) -> list[str]:
        segmenter = segmenter_from("kmeans", {"k": 4, **settings})
        request = Request(source=source, out=out, segmenter=segmenter, products=(), fresh=True)
        return [Path(str(file)).name for file in run(request).files]

    assert "fit.png" in map_with(choose="elbow")
    page = (out / "report.html").read_text()
    assert "What was chosen from the scene" in page
    assert "fit.png" in (out / "item.json").read_text()

    assert "fit.png" not in map_with(), "an earlier one is of another fit"
    assert not (out / "fit.png").exists()
    assert "What was chosen from the scene" not in (out / "report.html").read_text()
