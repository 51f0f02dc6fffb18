"""What tests of flows on a server share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.deployments.linked_pages import arrived
from tests.scenes import draw_scene


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two scenes of a valley in `inbox`."""
    place = tmp_path_factory.mktemp("offered")
    (place / "inbox").mkdir()
    for month in (5, 6):
        arrived(draw_scene(place / "inbox" / f"valley_20240{month}01.tif", 256, 320, seed=month))
    return place
