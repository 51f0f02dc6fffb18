"""What every test may ask for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import cli
from tests.gate import (  # noqa: F401 - hooks that pytest looks for here
    pytest_collection,
    pytest_collectreport,
    pytest_configure,
    pytest_report_header,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from tests.sharing import pytest_xdist_make_scheduler  # noqa: F401 - pytest-xdist looks here

Run = Callable[..., tuple[int, str, str]]
"""What `landweave` gives a test: the command line, to be called with what a person types."""


@pytest.fixture(scope="session", autouse=True)
def scratch_of_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is kept for a while, such as copies of remote files, is not kept among a person's
    own."""
    os.environ["LANDWEAVE_SCRATCH"] = str(tmp_path_factory.mktemp("scratch"))
    os.environ["LANDWEAVE_GRAPHS"] = str(tmp_path_factory.mktemp("graphs"))


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk() -> Iterator[None]:
    """No test cuts the power: what a process wrote is there when it is killed, without waiting for
    the disk a dozen times a map."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real imagery beside the checkout; `LANDWEAVE_TEST_DATA` names another place."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    data = Path(os.environ.get("LANDWEAVE_TEST_DATA", beside))
    if not data.is_dir():
        pytest.skip(f"real imagery is not at {data}")
    return data


@pytest.fixture(scope="module")
def white_pictures() -> Iterator[None]:
    """For tests that run a pipeline often and look at what stands beside its pictures: each is one
    white pixel. Drawing a quicklook is half of the work of a small map."""

    def draw(*arguments: Any) -> None:
        from PIL import Image

        Image.new("RGB", (1, 1), "white").save(arguments[-1])

    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "flows.reports.quicklook.draw",
            "flows.change.figures.draw_flows",
            "flows.change.figures.draw_maps",
            "flows.objects.publish.draw_regions",
            "flows.series.figures.draw_series",
        ):
            patch.setattr(name, draw)
        yield


@pytest.fixture
def landweave(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["landweave", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run
