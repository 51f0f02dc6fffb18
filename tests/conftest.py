"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A change is judged on the same examples everywhere; whoever runs the tests by hand explores others each time.
settings.register_profile(
    "landweave",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("landweave")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real imagery beside the checkout; `LANDWEAVE_TEST_DATA` names another place."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    data = Path(os.environ.get("LANDWEAVE_TEST_DATA", beside))
    if not data.is_dir():
        pytest.skip(f"real imagery is not at {data}")
    return data
