"""What is deployed: files that their tools accept, a schedule that fires, and all processes together.

No container engine is needed: images are linted, and what compose would start is started by hand.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from tests.flows.test_serve import ENDS, call, free_port, over, serving
from tests.scenes import draw_scene

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
KUBERNETES = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if not path.name.endswith("values.yaml"))


def tool(name: str, *arguments: str | Path) -> None:
    """Run a checker; what it complains of fails the test."""
    done = subprocess.run([BIN / name, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))


def objects() -> list[dict[str, Any]]:
    """Every object of the Kubernetes files."""
    found = [one for path in KUBERNETES for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    return [one for one in found if "kind" in one]  # not what kustomize is told


# -------------------------------------------------------------------------------------------------------------- images


def test_the_image_is_built_as_its_linter_wants() -> None:
    tool("hadolint", DEPLOY / "Dockerfile")


def test_the_image_runs_as_nobody_in_particular_and_pins_what_it_installs() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER 10001$", lines, re.MULTILINE)
    assert "--constraint constraints.txt" in lines
    assert {name for _, name in re.findall(r"^FROM (\S+) AS (\w+)$", lines, re.MULTILINE)} >= {"cpu", "cuda"}
    assert not re.search(r"^FROM \S+:latest", lines, re.MULTILINE)


def test_all_that_the_image_copies_is_there_and_reaches_the_builder() -> None:
    let_in = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line[0] == "!"
    }
    for line in re.findall(r"^COPY (?!--from)(.*)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        assert all((ROOT / source).exists() for source in sources), line
        assert let_in.issuperset(sources), line


# ------------------------------------------------------------------------------------------------------------- compose


def test_compose_accepts_the_file() -> None:
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_every_service_is_pinned_watched_and_without_privileges() -> None:
    for name, service in compose()["services"].items():
        assert re.search(r":[^:]*\d+\.\d+", service["image"]), name
        assert service["cap_drop"] == ["ALL"], name
        assert "healthcheck" in service or name == "setup", name


def test_no_secret_has_a_value_in_the_file_and_each_is_in_the_example() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    demanded = set(re.findall(r"\$\{(\w+):\?", text))
    assert demanded == {"POSTGRES_PASSWORD", "PREFECT_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"}
    assert not re.findall(r"\$\{\w*(?:PASSWORD|SECRET|KEY)\w*:-[^}]", text)
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert all(example[name] == "" for name in demanded)
    assert set(re.findall(r"\$\{(\w+)", text)) >= set(example)


def test_only_the_pages_and_the_figures_are_open_to_this_machine_and_nothing_to_others() -> None:
    services = compose()["services"]
    assert {name for name, service in services.items() if "ports" in service} == {"server", "prometheus"}
    for service in services.values():
        assert all(port.startswith(("127.0.0.1:", "${BIND:-127.0.0.1}:")) for port in service.get("ports", []))
    assert compose()["networks"]["back"]["internal"] is True


# ---------------------------------------------------------------------------------------------------------- Kubernetes


@pytest.mark.parametrize("kind", ["Namespace", "PersistentVolumeClaim", "ResourceQuota", "NetworkPolicy", "Job"])
def test_kubernetes_accepts_its_own_kinds(kind: str) -> None:
    import kubernetes_validate

    chosen = [one for one in objects() if one["kind"] == kind]
    assert chosen
    for one in chosen:
        kubernetes_validate.validate(one, "1.32", strict=True)


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod that the files or the work pool start."""
    for one in objects():
        if one["kind"] == "DaskCluster":
            yield "scheduler", one["spec"]["scheduler"]["spec"]
        if one["kind"] in ("DaskCluster", "DaskWorkerGroup"):
            yield one["metadata"]["name"], one["spec"]["worker"]["spec"]
        if one["kind"] == "Job":
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def test_dasks_kinds_hold_pods_and_a_service_that_kubernetes_accepts() -> None:
    import kubernetes_validate

    for name, pod in pods():
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}
        kubernetes_validate.validate(whole, "1.32", strict=True)
    (cluster,) = [one for one in objects() if one["kind"] == "DaskCluster"]
    service = cluster["spec"]["scheduler"]["service"]
    whole = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "scheduler"}, "spec": service}
    kubernetes_validate.validate(whole, "1.32", strict=True)


def test_pods_keep_the_restricted_standard_and_say_what_they_need() -> None:
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name


def test_kustomize_puts_the_images_in_place() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl")
    made = subprocess.run([kubectl, "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True, check=True)
    images = set(re.findall(r"image: (\S+)", made.stdout))
    assert images == {"registry.example.com/landweave:0.1.0-cpu", "registry.example.com/landweave:0.1.0-cuda"}


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
def test_a_work_pool_asks_for_what_its_template_uses(kind: str) -> None:
    template = json.loads((DEPLOY / "work-pools" / f"{kind}.json").read_text(encoding="utf-8"))
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    asked = template["variables"]["properties"]
    assert used == set(asked)
    assert all("title" in variable for variable in asked.values())


# ------------------------------------------------------------------------------------------------------ SLURM, Prefect


def test_the_slurm_files_are_read_by_what_they_are_for() -> None:
    from flows.cluster import cluster_from

    assert cluster_from(str(DEPLOY / "slurm" / "cluster.yaml"), None, {}).workers == 8
    subprocess.run(["bash", "-n", DEPLOY / "slurm" / "landweave.sbatch"], check=True)


def test_the_automations_are_prefects() -> None:
    from prefect.events.schemas.automations import AutomationCore

    written = yaml.safe_load((DEPLOY / "automations.yaml").read_text(encoding="utf-8"))["automations"]
    read = TypeAdapter(list[AutomationCore]).validate_python(written)
    assert [one.name for one in read] == [one["name"] for one in written]


def test_every_flow_that_is_offered_is_deployed_from_where_it_is() -> None:
    from prefect.flows import load_flow_from_entrypoint

    from flows.offered import OFFERED

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert {one["name"] for one in deployments} == {flow.name for flow in OFFERED}
    for one in deployments:
        assert load_flow_from_entrypoint(one["entrypoint"]).name == one["name"]
        known = load_flow_from_entrypoint(one["entrypoint"]).parameters.properties
        assert set(one.get("parameters", {})) <= set(known)


@pytest.mark.slow
@pytest.mark.trial
def test_a_schedule_fires_and_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    draw_scene(tmp_path / "incoming" / "S2_20240630.tif", 96, 96)
    with serving(tmp_path) as (address, _):
        deployment = call(address, "deployments/name/land-use-monitor/land-use-monitor")["id"]
        parameters = {"folders": [str(tmp_path / "incoming")], "output_folder": str(tmp_path / "watched")}
        schedule = {"schedule": {"interval": 20}, "active": True, "parameters": parameters}
        call(address, f"deployments/{deployment}/schedules", [schedule])
        done: list[dict[str, Any]] = []
        deadline = time.monotonic() + 270
        while len(done) < 2:
            assert time.monotonic() < deadline
            time.sleep(2)
            wanted = {"flow_runs": {"state": {"type": {"any_": list(ENDS)}}}, "sort": "END_TIME_DESC"}
            done = call(address, "flow_runs/filter", wanted)[::-1]
        assert all(run["auto_scheduled"] for run in done)
        assert [run["state_type"] for run in done[:2]] == ["COMPLETED"] * 2, [run["state"]["message"] for run in done]
        assert done[1]["state"]["message"].startswith("0 new scenes, 0 new changes")


# ------------------------------------------------------------------------------------------------------ all together


@contextmanager
def running(command: list[Any], log: Path, **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the time of the block."""
    with (
        open(log, "wb") as output,
        subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, **settings) as it,
    ):
        try:
            yield it
        finally:
            it.terminate()
            try:
                it.wait(30)
            except subprocess.TimeoutExpired:
                it.kill()


def wait_for(line: str, log: Path, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while line not in log.read_text(encoding="utf-8", errors="replace"):
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8", errors="replace")
        time.sleep(0.3)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The address of a database of Debian's PostgreSQL, whose log is in `folder`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("there is no PostgreSQL; apt-get install postgresql")
    # it refuses to run as root, and whom it runs as may not look into a test's own folder
    nobody: dict[str, Any] = {"user": "nobody", "group": "nogroup", "cwd": "/"} if os.getuid() == 0 else {}
    home, port = Path(tempfile.mkdtemp(prefix="landweave-", dir="/tmp")), free_port()
    if nobody:
        shutil.chown(home, "nobody", "nogroup")
    binaries = found[-1].parent
    make = [binaries / "initdb", "--username=prefect", "--auth=trust", "--encoding=UTF8", "--pgdata", home / "data"]
    subprocess.run(make, check=True, capture_output=True, **nobody)
    serve = [binaries / "postgres", "-D", home / "data", "-p", str(port), "-k", home, "-h", "127.0.0.1"]
    with running(serve, folder / "postgres.log", **nobody):
        wait_for("ready to accept connections", folder / "postgres.log")
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    shutil.rmtree(home)


@pytest.mark.slow
@pytest.mark.trial
@pytest.mark.timeout(580)
def test_the_processes_that_compose_starts_make_a_map_together(tmp_path: Path) -> None:
    port, scheduler = free_port(), free_port()
    address, cluster = f"http://127.0.0.1:{port}", f"tcp://127.0.0.1:{scheduler}"
    commands = {name: service.get("command") for name, service in compose()["services"].items()}
    place = {
        "0.0.0.0": "127.0.0.1",
        "4200": port,
        "8786": scheduler,
        ":8787": "127.0.0.1:0",
        "tcp://scheduler:8786": cluster,
    }

    def command(service: str) -> list[Any]:
        """The service's own command, with the addresses of this machine."""
        program, *rest = [place.get(word, word) for word in commands[service]]
        return [BIN / str(program), *rest]

    environment = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "LANDWEAVE_DATA_ROOTS": str(tmp_path),
        "LANDWEAVE_CLUSTER": cluster,
    }
    logs = {name: tmp_path / f"{name}.log" for name in ("server", "scheduler", "cpu-worker", "worker")}
    with ExitStack() as stack:
        database = stack.enter_context(postgresql(tmp_path))
        at_database = environment | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
        stack.enter_context(running(command("server"), logs["server"], env=at_database))
        stack.enter_context(running(command("scheduler"), logs["scheduler"], env=environment))
        dask_worker = [BIN / "dask", "worker", cluster, "--nthreads=1", "--nworkers=2", f"--local-directory={tmp_path}"]
        stack.enter_context(running(dask_worker, logs["cpu-worker"], env=environment))
        wait_for("Check out the dashboard", logs["server"])
        setup = ["sh", str(DEPLOY / "setup.sh"), "process"]
        done = subprocess.run(setup, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        worker = [word for word in command("worker") if word != "--with-healthcheck"]  # its port may be taken
        stack.enter_context(running(worker, logs["worker"], env=environment, cwd=tmp_path))

        scene = draw_scene(tmp_path / "scene.tif", 300, 400)
        deployment = call(address, "deployments/name/segment-scene/segment-scene")["id"]
        parameters = {"scene": [str(scene)], "output_folder": str(tmp_path / "out"), "advanced": {"shard": 128}}
        run = call(address, f"deployments/{deployment}/create_flow_run", {"parameters": parameters})
        run = over(address, run)
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
        assert (tmp_path / "out" / "landcover.gpkg").exists()
        assert (tmp_path / "out" / "quicklook.png").exists()

        outside = {"scene": ["/etc/hostname"], "output_folder": str(tmp_path / "out-2")}
        run = over(address, call(address, f"deployments/{deployment}/create_flow_run", {"parameters": outside}))
        assert run["state_type"] == "FAILED"
        assert "/etc/hostname" in run["state"]["message"]
