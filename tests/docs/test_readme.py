"""The Python of the README works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.compute.pool import ThisProcess
from flows.demo import write_demo
from segmentation.training import train_forest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_lines_of_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_forest, "_WINDOWS", ((3,),))  # of three lengths, which takes a while
    write_demo(Path("small"), 96, 3, ThisProcess())
    names: dict[str, object] = {}
    exec(code, names)
    assert (tmp_path / "better/landcover.gpkg").exists()
    assert {"lw", "run", "forest"} <= names.keys()
