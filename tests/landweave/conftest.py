"""A drawn scene, its truth and its map, made once."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

import landweave as lw
from flows.compute.pool import ThisProcess
from flows.demo import write_demo


class Demo(NamedTuple):
    scene: Path
    truth: Path
    run: lw.Run


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("landweave")
    scene, truth = write_demo(folder, 256, 3, ThisProcess())
    return Demo(scene, truth, lw.segment(scene, folder / "run", workers=0))
