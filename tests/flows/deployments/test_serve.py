"""`landweave serve`: finds its port, starts what it needs, and ends all of it."""

from __future__ import annotations

import http.server
import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

import flows.deployments.serve
from flows.deployments.serve import answers, end, server, wait_until_it_answers
from flows.pages.fileserver import is_at
from tests.server import call, free_port, listening, serving
from tiling.errors import InputError


@contextmanager
def web_server(health: bytes) -> Iterator[int]:
    """The port of a small server that says `health` to everyone."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(health)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening.server_port
        listening.shutdown()
        thread.join()


def test_a_running_prefect_server_is_used_and_left_running(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with web_server(b"true") as port:
        with server(port) as address:
            assert address == f"http://127.0.0.1:{port}"
        assert answers(address)
    assert "already runs" in capsys.readouterr().out


def test_whether_a_server_shows_the_files_of_runs_is_asked() -> None:
    with web_server(b"true") as port:
        assert not is_at(f"http://127.0.0.1:{port}")
    with web_server(b"Landweave shows the folders of its runs below this address.\n") as port:
        assert is_at(f"http://127.0.0.1:{port}")
    assert not is_at(f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("said", "switched_on", "offered"), [("", True, True), ("off", True, False), ("", False, False)]
)
def test_files_are_offered_unless_someone_says_otherwise(
    said: str, switched_on: bool, offered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Exception):
        pass

    def stop(port: int, wanted: str, *, files: bool) -> None:
        raise Asked(files)

    monkeypatch.setenv("LANDWEAVE_FILES", said)
    monkeypatch.setattr(flows.deployments.serve, "server", stop)
    monkeypatch.setattr(flows.deployments.serve, "endings", lambda: ())
    with pytest.raises(Asked) as caught:
        flows.deployments.serve.serve(files=switched_on)
    assert caught.value.args == (offered,)


def test_a_port_of_another_program_is_a_mistake_that_names_the_mend() -> None:
    with (
        web_server(b"<html>hello</html>") as port,
        pytest.raises(InputError, match=rf"port {port} is taken .*--port"),
        server(port),
    ):
        pass


def test_nobody_at_the_port_is_no_answer() -> None:
    assert not answers(f"http://127.0.0.1:{free_port()}")


def test_a_server_that_dies_is_noticed() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process,
        pytest.raises(InputError, match="ended with code 3"),
    ):
        wait_until_it_answers(process, f"http://127.0.0.1:{free_port()}")


def test_a_process_is_ended_and_reaped() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        end(process)
        assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    "arguments", [["--help"], ["segment", "no-such.tif", "--out", "out", "--workers", "0"]]
)
def test_the_command_line_needs_no_prefect(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('loaded', 'prefect' in sys.modules))\n"
        "from flows.cli import main\n"
        f"sys.argv[1:] = {arguments}\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "loaded False"
    assert done.returncode == (0 if arguments == ["--help"] else 2)


@pytest.mark.slow
def test_serve_offers_every_flow_on_this_machine_alone_and_sigterm_ends_all_it_started(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as (address, process):
        offered = {
            one["name"]: one["entrypoint"] for one in call(address, "deployments/filter", {})
        }
        assert offered == {
            "map-scene": "flows.deployments.segment_scene.map_scene",
            "segment-scene": "flows.deployments.segment_scene.segment_scene",
            "segment-objects": "flows.deployments.segment_objects.segment_objects",
            "segment-collection": "flows.deployments.definitions.segment_collection",
            "land-use-monitor": "flows.deployments.definitions.land_use_monitor",
            "train-network": "flows.deployments.definitions.train_network",
            "evaluate-map": "flows.deployments.definitions.evaluate_map",
            "compute-indices": "flows.deployments.definitions.compute_indices",
            "make-composite": "flows.deployments.dates.make_composite",
            "follow-indices": "flows.deployments.dates.follow_indices",
            "compare-maps": "flows.deployments.comparing.compare_maps",
            "zonal-areas": "flows.deployments.comparing.zonal_areas",
            "crop-monitor": "flows.deployments.crop_monitor.crop_monitor",
            "inspect-scene": "flows.deployments.trying.inspect_scene",
            "demo": "flows.deployments.trying.demo",
        }
        assert call(address, "admin/settings")["server"]["analytics_enabled"] is False
        with urllib.request.urlopen(
            f"{address}/ui-settings"
        ) as answer:  # the other one asks an outside host
            assert json.load(answer)["available_uis"] == ["v1"]
        served = psutil.Process(process.pid)
        assert listening(served) == {"127.0.0.1"}
        started = served.children(recursive=True)
        assert started
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not [
            child
            for child in started
            if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        ]
        assert not answers(address)
