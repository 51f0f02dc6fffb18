"""The bench of graphics cards runs, in miniature and without one: so that it does where there is
one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu


@pytest.mark.slow
def test_every_section_finds_something(tmp_path: Path) -> None:
    sizes = ["--size", "256", "--chip", "64", "--batches", "2"]
    assert gpu.main(["--device", "cpu", *sizes, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert list(found) == list(gpu.SECTIONS)
    assert found["engine"]["engine ÷ network alone"] > 0.5
    stages = found["stages"]
    speed, price = stages["km² a second at 10 m"], stages["cents for 1,000 km² at 10 m"]
    assert price == pytest.approx(350 / 3600 * 1000 / speed)
    assert "| stages | segment ÷ bare network |" in (tmp_path / "gpu.md").read_text()


def test_a_section_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(bench: gpu.Bench) -> gpu.Figures:
        raise RuntimeError("CUDA error:\nillegal access")

    monkeypatch.setattr(gpu, "SECTIONS", {"one": fail, "other": lambda bench: {"answer, %": 42.0}})
    monkeypatch.setattr("flows.demo.write_demo", lambda *told: None)
    sizes = ["--size", "64", "--chip", "64"]
    assert gpu.main(["--device", "cpu", *sizes, "--out", str(tmp_path)]) == 1
    assert "| one | failed | RuntimeError: CUDA error: illegal access |" in capsys.readouterr().out
    assert json.loads((tmp_path / "gpu.json").read_text())["other"] == {"answer, %": 42.0}
