"""Every kind of partition is found by name and refused in one line."""

from __future__ import annotations

import importlib
import json
import pickle
import tomllib
from pathlib import Path

import pytest

from flows.partitions.partition import Partition, settings
from flows.partitions.registry import partition_class
from flows.setting import setting_in
from tiling.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
OURS: dict[str, type[Partition]] = {
    kind: getattr(importlib.import_module(path.partition(":")[0]), path.partition(":")[2])
    for kind, path in POINTS["landweave.partitions"].items()
}


def test_every_kind_of_ours_is_called_as_its_entry_point() -> None:
    assert OURS
    for kind, partition in OURS.items():
        assert partition.model_fields["kind"].default == kind
        assert partition.__doc__


def test_every_setting_says_what_it_is_and_how_it_is_typed() -> None:
    described: dict[str, tuple[str | None, str | None]] = {}
    for partition in OURS.values():
        for name, field in settings(partition).items():
            assert setting_in(field), (partition, name)
            assert field.title
            said = described.setdefault(name, (field.title, field.description))
            assert said == (field.title, field.description), "one option for all kinds"


def test_a_partition_travels_and_is_written_down_whole() -> None:
    for partition in OURS.values():
        one = partition()
        assert pickle.loads(pickle.dumps(one)) == one
        assert partition.model_validate_json(json.dumps(one.model_dump(mode="json"))) == one
        assert one.identity()["revision"] == partition.revision


def test_a_kind_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"there is no method 'watersheds'"):
        partition_class("watersheds")


def test_a_band_that_is_not_there_is_refused() -> None:
    for partition in OURS.values():
        with pytest.raises(InputError, match="there is no band pan; there are red, nir"):
            partition(bands_used=("pan",)).bands(["red", "nir"])
        assert partition().bands(["red", "nir"]) == ("red", "nir")
        assert partition(bands_used=("nir",)).bands(["red", "nir"]) == ("nir",)
