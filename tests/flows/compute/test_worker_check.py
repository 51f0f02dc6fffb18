"""A worker that cannot do the job is named, with the reason, before any work starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.compute import worker_check
from flows.compute.pool import ThisProcess
from tests.scenes import draw_scene
from tiling.errors import InputError


class Workers(ThisProcess):
    """This process, and a worker that gives other answers."""

    def __init__(self, changed: Callable[[Any], Any]) -> None:
        self.changed = changed

    def everywhere(self, function: Callable[[], Any], *, gpu: bool = False) -> dict[str, Any]:
        return {"one": function(), "two": self.changed(function())}


@pytest.fixture
def scene(tmp_path: Path) -> str:
    return str(draw_scene(tmp_path / "scene.tif", 8, 8))


def test_a_worker_like_this_process_passes_and_leaves_nothing(scene: str, tmp_path: Path) -> None:
    worker_check.check(ThisProcess(), [scene], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


@pytest.mark.parametrize("library", ["python", "landweave", "numpy", "torch"])
def test_another_version_is_named(scene: str, tmp_path: Path, library: str) -> None:
    def older(answer: Any) -> Any:
        return answer | {library: "0.1"} if isinstance(answer, dict) else answer

    with pytest.raises(
        InputError,
        match=rf"^worker two has {library} 0\.1 and this process .*the same environment$",
    ):
        worker_check.check(Workers(older), [scene], tmp_path)


def test_a_worker_that_raises_is_named(scene: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="worker two does not answer: no module named zict"):
        worker_check.check(
            Workers(lambda _: ImportError("no module named zict")), [scene], tmp_path
        )


def test_a_source_that_is_not_there_is_named(scene: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"worker one cannot do this work: .*elsewhere\.tif does not open there"
    ):
        worker_check.check(
            Workers(lambda answer: answer), [scene, str(tmp_path / "elsewhere.tif")], tmp_path
        )


def test_a_folder_of_the_same_name_on_another_machine_is_told_apart(
    scene: str, tmp_path: Path
) -> None:
    task = worker_check.Task((scene,), tmp_path, "the sign that nobody put there")
    problem = worker_check.worker_problem(task)
    assert problem == f"{tmp_path} is another folder there; choose one that all machines share"


def test_relative_paths_that_lead_elsewhere_there_are_to_be_given_whole(scene: str) -> None:
    whole = "give its whole path, as workers may start in another folder"
    problem = worker_check.worker_problem(
        worker_check.Task((scene,), Path("run"), "the sign that nobody put there")
    )
    assert problem == f"run is another folder there; {whole}"
    problem = worker_check.worker_problem(worker_check.Task(("nowhere.tif",), Path("run"), ""))
    assert problem is not None
    assert problem.endswith(whole)


def test_a_folder_that_cannot_be_written_is_a_problem(
    scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: bytes) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    with worker_check.probe_file(tmp_path) as sign:
        monkeypatch.setattr(Path, "write_bytes", refuse)
        assert worker_check.worker_problem(worker_check.Task((scene,), tmp_path, sign)) == (
            f"{tmp_path} cannot be written there: Permission denied"
        )


BARE = """
import pickle, sys
class NotInstalled:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("flows", "tiling", "segmentation"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NotInstalled())
print(pickle.load(sys.stdin.buffer)()["python"])
"""


def test_versions_are_told_where_nothing_of_ours_is_installed() -> None:
    """The first question travels by value."""
    import cloudpickle

    question = cloudpickle.dumps(worker_check._versions(worker_check.LIBRARIES))
    told = subprocess.run(
        [sys.executable, "-c", BARE], input=question, capture_output=True, check=True
    )
    assert told.stdout.decode().strip() == worker_check.versions_here()["python"]
