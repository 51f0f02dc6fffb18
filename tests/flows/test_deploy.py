"""What is deployed: files that their tools accept, a schedule that fires, and all processes
together.

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
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from pydantic import TypeAdapter

from flows.deployments.serve import answers
from tests.scenes import draw_scene
from tests.server import (
    ENDS,
    at_home,
    call,
    completed,
    free_port,
    over,
    run_and_wait,
    settles,
    started,
    task_runs,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
KUBERNETES = sorted(
    path for path in (DEPLOY / "kubernetes").glob("*.yaml") if not path.name.endswith("values.yaml")
)


def tool(name: str, *arguments: str | Path) -> None:
    """Run a checker; what it complains of fails the test."""
    done = subprocess.run(
        [BIN / name, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))


def objects() -> list[dict[str, Any]]:
    """Every object of the Kubernetes files."""
    found = [
        one for path in KUBERNETES for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    return [one for one in found if "kind" in one]  # not what kustomize is told


# ------------------------------------------------------------------------------------------- images


def test_the_image_is_built_as_its_linter_wants() -> None:
    tool("hadolint", DEPLOY / "Dockerfile")


def test_the_image_runs_as_nobody_in_particular_and_pins_what_it_installs() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER 10001$", lines, re.MULTILINE)
    assert "--constraint constraints.txt" in lines
    assert {name for _, name in re.findall(r"^FROM (\S+) AS (\w+)$", lines, re.MULTILINE)} >= {
        "cpu",
        "cuda",
    }
    assert not re.search(r"^FROM \S+:latest", lines, re.MULTILINE)


def test_all_that_the_image_copies_is_there_and_reaches_the_builder() -> None:
    let_in = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line[0] == "!"
    }
    for line in re.findall(
        r"^COPY (?!--from)(.*)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    ):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        assert all((ROOT / source).exists() for source in sources), line
        assert let_in.issuperset(sources), line


# ---------------------------------------------------------------------------- what workers may take


def memory_of(text: str) -> int:
    """Bytes of 4GiB, 16GB, or of ${NAME:-4GiB}."""
    from dask.utils import parse_bytes

    return int(parse_bytes(re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", text)))


def workers() -> dict[str, tuple[int, int, int]]:
    """Cores, pieces of work at once and bytes of each kind of Dask worker that the files start for
    CPUs."""
    service = compose()["services"]["cpu-worker"]
    (deployed,) = [one for one in objects() if one["kind"] == "DaskCluster"]
    (pod,) = deployed["spec"]["worker"]["spec"]["containers"]
    slurm = yaml.safe_load((DEPLOY / "slurm" / "cluster.yaml").read_text(encoding="utf-8"))[
        "settings"
    ]

    def told(arguments: list[str], variable: str) -> tuple[int, int, int]:
        given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
        cores = int(re.sub(r"^\$\{\w+:-(\d+)\}$", r"\1", variable))
        return cores, int(given["--nthreads"]), memory_of(given["--memory-limit"])

    variables = {each["name"]: each["value"] for each in pod["env"]}
    (threads,) = re.findall(r"OMP_NUM_THREADS=(\d+)", " ".join(slurm["job_script_prologue"]))
    processes = int(slurm["processes"])
    return {
        "compose": told(service["command"], service["environment"]["OMP_NUM_THREADS"]),
        "kubernetes": told(pod["args"], variables["OMP_NUM_THREADS"]),
        "slurm": (
            int(threads),
            slurm["cores"] // processes,
            memory_of(slurm["memory"]) // processes,
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("network", ["demo", "resnet18"])
def test_every_worker_may_take_what_ordinary_networks_need(tmp_path: Path, network: str) -> None:
    import segmentation.models.bundle
    from flows.plan.plan import make_plan
    from flows.requests.request import Request
    from flows.requests.segmenters import choose_segmenter
    from flows.requests.source import Source
    from tests.segmentation.small_networks import a_bundle

    bundle = segmentation.models.bundle.PACKAGED / "demo"
    if network == "resnet18":
        options = {"encoder": "resnet18", "options": {}, "tile": 1024, "margin": 64, "stride": 32}
        bundle = a_bundle(tmp_path / "unet", architecture="unet", **options).folder
    scene = draw_scene(tmp_path / "scene.tif", 2048, 2048)
    segmenter = choose_segmenter(str(bundle), {})
    request = Request(
        source=Source(paths=(str(scene),)),
        out=tmp_path / "run",
        segmenter=segmenter,
        preflight="warn",
    )
    plan = make_plan(request)
    assert plan.lattice.chip_shape >= (1024, 1024)
    for name, (cores, at_once, limit) in workers().items():
        assert plan.worker_bytes(cores, at_once) < 0.9 * limit, f"{network} on {name}"


# ------------------------------------------------------------------------------------------ compose


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
    assert {name for name, service in services.items() if "ports" in service} == {
        "server",
        "prometheus",
    }
    for service in services.values():
        assert all(
            port.startswith(("127.0.0.1:", "${BIND:-127.0.0.1}:"))
            for port in service.get("ports", [])
        )
    assert compose()["networks"]["back"]["internal"] is True


# --------------------------------------------------------------------------------------- Kubernetes


@pytest.mark.parametrize(
    "kind", ["Namespace", "PersistentVolumeClaim", "ResourceQuota", "NetworkPolicy", "Job"]
)
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
    whole = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "scheduler"},
        "spec": service,
    }
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
    made = subprocess.run(
        [kubectl, "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True, check=True
    )
    images = set(re.findall(r"image: (\S+)", made.stdout))
    assert images == {
        "registry.example.com/landweave:0.2.0-cpu",
        "registry.example.com/landweave:0.2.0-cuda",
    }


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
def test_a_work_pool_asks_for_what_its_template_uses(kind: str) -> None:
    template = json.loads((DEPLOY / "work-pools" / f"{kind}.json").read_text(encoding="utf-8"))
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    asked = template["variables"]["properties"]
    assert used == set(asked)
    assert all("title" in variable for variable in asked.values())


# ----------------------------------------------------------------------------------- SLURM, Prefect


def test_the_slurm_files_are_read_by_what_they_are_for() -> None:
    from flows.compute.cluster import cluster_from

    assert cluster_from(str(DEPLOY / "slurm" / "cluster.yaml"), None, {}).workers == 8
    subprocess.run(["bash", "-n", DEPLOY / "slurm" / "landweave.sbatch"], check=True)


def automations(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))["automations"])


@pytest.mark.parametrize("file", ["automations.yaml", "dead-runs.yaml"])
def test_the_automations_are_prefects(file: str) -> None:
    from prefect.events.schemas.automations import AutomationCore

    written = automations(file)
    read = TypeAdapter(list[AutomationCore]).validate_python(written)
    assert [one.name for one in read] == [one["name"] for one in written]


def test_every_flow_that_is_offered_is_deployed_from_where_it_is() -> None:
    from prefect.flows import load_flow_from_entrypoint

    from flows.deployments.definitions import FLOWS

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    tags = {one["name"]: one["tags"] for one in deployments}
    assert tags == {flow.name: ["landweave", tag] for flow, tag in FLOWS.items()}
    for one in deployments:
        assert load_flow_from_entrypoint(one["entrypoint"]).name == one["name"]
        known = load_flow_from_entrypoint(one["entrypoint"]).parameters.properties
        assert set(one.get("parameters", {})) <= set(known)


# ------------------------------------------------------------------------------------- all together


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
    nobody: dict[str, Any] = (
        {"user": "nobody", "group": "nogroup", "cwd": "/"} if os.getuid() == 0 else {}
    )
    home, port = Path(tempfile.mkdtemp(prefix="landweave-", dir="/tmp")), free_port()
    if nobody:
        shutil.chown(home, "nobody", "nogroup")
    binaries = found[-1].parent
    make = [
        binaries / "initdb",
        "--username=prefect",
        "--auth=trust",
        "--encoding=UTF8",
        "--pgdata",
        home / "data",
    ]
    subprocess.run(make, check=True, capture_output=True, **nobody)
    serve = [
        binaries / "postgres",
        "-D",
        home / "data",
        "-p",
        str(port),
        "-k",
        home,
        "-h",
        "127.0.0.1",
    ]
    with running(serve, folder / "postgres.log", **nobody):
        wait_for("ready to accept connections", folder / "postgres.log")
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    shutil.rmtree(home)


class Fleet:
    """The processes that compose starts, by service, each with its own command but the addresses of
    this machine."""

    def __init__(self, folder: Path, database: str, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        port, scheduler = free_port(), free_port()
        self.address, cluster = f"http://127.0.0.1:{port}", f"tcp://127.0.0.1:{scheduler}"
        self._places: dict[str, Any] = {
            "0.0.0.0": "127.0.0.1",
            "4200": port,
            "8786": scheduler,
            ":8787": "127.0.0.1:0",
            "tcp://scheduler:8786": cluster,
            "--nworkers=${WORKERS:-2}": "--nworkers=2",
            "--memory-limit=${WORKER_MEMORY:-4GiB}": "--memory-limit=4GiB",
            "--dashboard-address=:8788": "--dashboard-address=127.0.0.1:0",
            "--local-directory=/scratch": f"--local-directory={folder}",
            "--with-healthcheck": "--name=worker",  # the port of its health may be taken
        }
        self.environment = os.environ | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",  # a run waits for its worker up to so long
            "PREFECT_API_URL": f"{self.address}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
            "LANDWEAVE_DATA_ROOTS": str(folder),
            "LANDWEAVE_CLUSTER": cluster,
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def start(self, service: str, ready: str = "") -> None:
        """Start a service, and wait until its log says so."""
        program, *rest = [
            self._places.get(word, word) for word in compose()["services"][service]["command"]
        ]
        self.log(service).unlink(missing_ok=True)
        process = running(
            [BIN / str(program), *rest], self.log(service), env=self.environment, cwd=self.folder
        )
        self.running[service] = self._stack.enter_context(process)
        wait_for(ready, self.log(service))

    def start_server(self) -> None:
        self.start("server")
        # its log says so before the database is made
        wait_until(lambda: answers(self.address), 150)

    def start_worker(self) -> None:
        self.start("worker", "started!")

    def kill(self, service: str) -> None:
        """End a service and all that it started as the failure of its machine would."""
        process = self.running[service]
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()

    def restart_server(self) -> None:
        self.running["server"].terminate()
        self.running["server"].wait(60)
        self.start_server()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        fleet = Fleet(folder, stack.enter_context(postgresql(folder)), stack)
        fleet.start_server()
        fleet.start("scheduler", "Scheduler at")
        fleet.start("cpu-worker", "Registered to")
        setup = ["sh", str(DEPLOY / "setup.sh"), "process"]
        done = subprocess.run(
            setup, env=fleet.environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        hasten(fleet.address)
        fleet.start_worker()
        yield fleet
        for (
            service,
            process,
        ) in fleet.running.items():  # waits for nobody, as an orderly end would for half a minute
            if process.poll() is None:
                fleet.kill(service)


def hasten(address: str) -> None:
    """Have dead runs found within seconds: nobody waits for nine minutes here."""
    (watching,) = call(address, "automations/filter", {})
    assert watching["name"] == automations("dead-runs.yaml")[0]["name"]
    watching["trigger"]["within"] = 60
    settings = {
        name: watching[name] for name in ("name", "description", "enabled", "trigger", "actions")
    }
    call(address, f"automations/{watching['id']}", settings, method="PUT")


@pytest.fixture
def at_work(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A run of 64 shards that is in the middle of them, and its folder."""
    out = fleet.folder / tmp_path_factory.mktemp("run").name
    run = started(
        fleet.address, "segment-scene", {**LONG, "scene": [large(fleet)], "output_folder": str(out)}
    )
    wait_until(lambda: len(parts(out)) >= 4, 200)
    return run, out


LONG = {
    "segmenter": {"kind": "network", "tile": 128},
    "output": {"products": ["classes"]},
    "advanced": {"shard": 128},
}


def large(fleet: Fleet) -> str:
    """A scene that a network takes a while for."""
    path = fleet.folder / "large.tif"
    return str(path if path.exists() else draw_scene(path, 1024, 1024))


def parts(folder: Path) -> dict[str, int]:
    """Finished parts and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "parts").glob("r*.tif")}


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_the_processes_that_compose_starts_make_a_map_together(fleet: Fleet) -> None:
    scene = draw_scene(fleet.folder / "scene.tif", 300, 400)
    out = fleet.folder / "out"
    completed(
        fleet.address,
        "segment-scene",
        {"scene": [str(scene)], "output_folder": str(out), "advanced": {"shard": 128}},
    )
    assert (out / "landcover.gpkg").exists()
    assert (out / "quicklook.png").exists()
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["shards"] > 1

    outside = {"scene": ["/etc/hostname"], "output_folder": str(fleet.folder / "out-2")}
    run = run_and_wait(fleet.address, outside)
    assert run["state_type"] == "FAILED"
    assert "/etc/hostname" in run["state"]["message"]


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_run_survives_a_restart_of_the_server(
    fleet: Fleet, at_work: tuple[dict[str, Any], Path]
) -> None:
    run, out = at_work
    fleet.restart_server()
    run = over(fleet.address, run)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["run_count"] == 1
    assert len(parts(out)) == 64
    settles(lambda: set(task_runs(fleet.address, run).values()), {"COMPLETED"})


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_run_whose_machine_died_goes_on_in_a_new_one(
    fleet: Fleet, at_work: tuple[dict[str, Any], Path]
) -> None:
    run, out = at_work
    fleet.kill("worker")
    time.sleep(5)  # the scheduler lets go of the shards of a client that is gone
    kept = parts(out)
    assert len(kept) < 64
    assert not (out / "run.json").exists()
    fleet.start_worker()
    parameters = {**LONG, "scene": [large(fleet)]}
    completed(fleet.address, "segment-scene", parameters | {"output_folder": str(out)})
    assert {name: parts(out)[name] for name in kept} == kept
    undisturbed = at_home(Path(large(fleet)), fleet.folder / "undisturbed", 128)
    assert (out / "classes.tif").read_bytes() == (undisturbed / "classes.tif").read_bytes()
    assert over(fleet.address, run)["state_type"] == "CRASHED"


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_people_are_told_of_a_map_that_is_ready_and_of_a_run_that_failed(fleet: Fleet) -> None:
    with inbox() as (url, messages):
        wanted = automations("automations.yaml")
        block = webhook(fleet.address, url)
        for one in wanted:
            for action in one["actions"]:
                assert action["block_document_id"] == "00000000-0000-0000-0000-000000000000"
                action["block_document_id"] = block
            call(fleet.address, "automations/", one)
        scene = draw_scene(fleet.folder / "told.tif", 64, 64)
        completed(
            fleet.address,
            "segment-scene",
            {"scene": [str(scene)], "output_folder": str(fleet.folder / "told")},
        )
        run_and_wait(
            fleet.address,
            {"scene": [str(fleet.folder / "no.tif")], "output_folder": str(fleet.folder)},
        )
        wait_until(lambda: len(messages) >= 2, 60)
    told = {message["subject"]: message["body"] for message in messages}
    assert set(told) == {"told · rules is ready", "no · rules failed"}
    assert f"; in {fleet.folder / 'told'}" in told["told · rules is ready"]
    assert "no.tif does not exist; check the path" in told["no · rules failed"]


@contextmanager
def inbox() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """An address that takes messages, and those that came."""
    messages: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", messages
        server.shutdown()


def webhook(address: str, url: str) -> str:
    """The id of a block that sends messages to an address."""
    kind = call(address, "block_types/slug/custom-webhook")["id"]
    (schema, *_) = call(
        address, "block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind]}}}
    )
    data = {
        "name": "people",
        "url": url,
        "json_data": {"subject": "{{subject}}", "body": "{{body}}"},
    }
    block = {"name": "people", "block_type_id": kind, "block_schema_id": schema["id"], "data": data}
    return str(call(address, "block_documents/", block)["id"])


MANY = 15


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_many_scenes_are_a_few_task_runs_each_and_the_server_stays_well(fleet: Fleet) -> None:
    folder = fleet.folder / "many"
    folder.mkdir()
    many = int(os.environ.get("LANDWEAVE_MANY_SCENES", MANY))
    for number in range(many):
        draw_scene(folder / f"scene-{number:03}.tif", 64, 64 + number % 3, seed=number)
    out = fleet.folder / "atlas"
    health: list[bool] = []
    began = time.monotonic()
    run = started(
        fleet.address, "segment-collection", {"scenes": [str(folder)], "output_folder": str(out)}
    )
    while call(fleet.address, f"flow_runs/{run['id']}")["state_type"] not in ENDS:
        assert time.monotonic() - began < 500
        health.append(answers(fleet.address))
        time.sleep(1)
    print(f"{many} scenes in {time.monotonic() - began:.0f} s")
    run = over(fleet.address, run)
    assert run["state"]["message"] == f"+{many} scenes; {many} scenes in {out}"
    assert len(health) > 5
    assert all(health)
    counted = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    settles(lambda: call(fleet.address, "task_runs/count", counted), 5 * many + 1)
    assert len(list(out.glob("*/landcover.gpkg"))) == many
