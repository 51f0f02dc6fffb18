"""Known models by name: where they may be fetched, and where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.requests.segmenters import choose_segmenter, fetch_known
from segmentation.interchange import fetch_known as fetching
from segmentation.models.known_models import KnownModel, known_names
from tests.conftest import Run
from tests.segmentation.small_networks import a_bundle
from tiling.errors import InputError
from tiling.io.access import AccessPolicy, restrict_access

pytestmark = pytest.mark.usefixtures("white_pictures")


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were fetched; nothing is in the cache."""
    names: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example:81")

    def fetch(known: KnownModel, _: object) -> Path:
        names.append(known.name)
        return a_bundle(tmp_path / known.name).folder

    monkeypatch.setattr(fetching, "fetch_known", fetch)
    return names


def test_a_segmenter_may_be_a_known_model_by_name(fetched: list[str], tmp_path: Path) -> None:
    chosen = choose_segmenter("csmask-6b-l2a", {})
    assert chosen.kind == "network"
    assert chosen.model_dump()["bundle"] == str(tmp_path / "csmask-6b-l2a")
    assert fetched == ["csmask-6b-l2a"]


@pytest.mark.parametrize(
    ("name", "host", "allowed"),
    [
        ("flair-rgb", "hub.example", True),
        ("flair-rgb", "other.example", False),
        ("csmask-6b-l2a", "hub.example", False),
    ],
)
def test_a_form_fetches_from_allowed_hosts_alone(
    fetched: list[str], name: str, host: str, allowed: bool
) -> None:
    with restrict_access(AccessPolicy(hosts=(host,))):
        if allowed:
            fetch_known(name)
        else:
            with pytest.raises(
                InputError, match=f"whoever runs it can: landweave models get {name}"
            ):
                fetch_known(name)
    assert fetched == ([name] if allowed else [])


def test_the_command_lists_and_fetches_them(landweave: Run, fetched: list[str]) -> None:
    status, out, _ = landweave("models", "--known")
    assert status == 0
    assert all(name in out for name in known_names())
    status, out, _ = landweave("models", "get", "csmask-4b-l1c", "--json")
    assert status == 0
    assert "csmask-4b-l1c" in out
    assert fetched == ["csmask-4b-l1c"]
    status, _, error = landweave("models", "get", "csmask")
    assert status == 2
    assert "there is no known model 'csmask'" in error
