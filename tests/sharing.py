"""Which tests one process runs where several share them: those of one server, one fleet, one
network, one desktop.

pytest-xdist has marks for it, which pytest 9.2 takes no notice of, without a word:
https://github.com/pytest-dev/pytest-xdist/issues/1386
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

TOGETHER = {
    # one run works at a time there, and its start takes 20 s
    "server": (
        "tests/flows/compute/test_waiting.py",
        "tests/flows/deployments/test_dates.py",
        "tests/flows/deployments/test_definitions.py",
        "tests/flows/deployments/test_trying.py",
    ),
    # as much again on another, so that two processes have half of the waiting each
    "second server": (
        "tests/flows/deployments/test_flows_of_many_scenes.py",
        "tests/flows/deployments/test_crop_monitor.py",
        "tests/flows/deployments/test_deploy_flows.py",
        "tests/flows/test_cancel.py",
        "tests/flows/test_soak.py",
        "tests/flows/test_ui.py",
    ),
    # what compose starts, with its database
    "fleet": ("tests/flows/test_deploy.py",),
    # Prefect's own server for tests
    "harness": ("tests/flows/deployments/test_segment_scene.py",),
    # network namespaces of one address range
    "network": ("tests/flows/test_tls.py",),
    # what QGIS says of all places, asked once
    "qgis": ("tests/tiling/formats/test_qgis_project.py",),
    "browser": ("tests/flows/reports/test_in_browser.py",),
}
"""Files of tests by what they need one of; any process runs the tests of other files."""

_GROUPS = {file: group for group, files in TOGETHER.items() for file in files}


def group_of(test: str) -> str:
    """The group that a test, by its node id, belongs to; itself where it shares nothing.

    >>> group_of("tests/flows/test_soak.py::test_of_sixty_submits_during_a_run_none_is_lost")
    'server'
    """
    return _GROUPS.get(test.partition("::")[0], test)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Hands out groups whole where `--dist loadgroup` is asked for."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log)
