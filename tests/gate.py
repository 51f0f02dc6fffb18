"""How a run of the tests is judged: chance has a seed that is told, and what may be skipped stands
on a list.

`LANDWEAVE_NO_SKIPS`, which `.ci/run` sets, turns a run red in which a test was skipped that is not
on the list.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.chance import SEED

MAY_SKIP = {
    "it tries other inputs each time": "fuzzing for as long as a person likes; some inputs of one "
    "seed are always met",
    "there is no graphics card": "what one computes can be seen only where there is one; the same "
    "tests meet streams that are late by chance",
    "there is a GPU": "that a missing GPU is told can be seen where there is none",
    "atheris has wheels for": "no fuzzing beside Linux on x86-64; seeds and known finds are met "
    "everywhere",
    "real imagery is not at": "a clone alone has no imagery of others'; the facts are told by "
    "drawn scenes too",
    "no network namespaces can be made here": "only root makes them, and not in every container",
    "no small disk can be mounted here": "only root mounts, and not in every container",
}
"""How the reason of a skip begins, and why the run may do without the test."""

_skipped: list[tuple[str, str]] = []
"""Where and why."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile(
        "landweave",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
        derandomize=False,
    )
    settings.load_profile("landweave")
    if config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(SEED)  # before hypothesis' own plugin looks


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is imported here stays: to look again and again for what may go is a quarter of the
    work."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_report_header() -> str:
    return f"LANDWEAVE_SEED={SEED}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _note(report)


def _note(report: Any) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    _skipped.append((report.nodeid, reason.removeprefix("Skipped: ")))


def unlisted() -> list[tuple[str, str]]:
    """Skipped tests that nobody said may be skipped."""
    return [(where, why) for where, why in _skipped if not why.startswith(tuple(MAY_SKIP))]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if os.environ.get("LANDWEAVE_NO_SKIPS") and unlisted() and not exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int) -> None:
    if os.environ.get("LANDWEAVE_NO_SKIPS") and unlisted():
        terminalreporter.section(
            "skipped, and not on the list in tests/gate.py", red=True, bold=True
        )
        for where, why in unlisted():
            terminalreporter.line(f"{where}: {why}")
    if exitstatus:
        terminalreporter.line(f"the same chance again: LANDWEAVE_SEED={SEED}")
