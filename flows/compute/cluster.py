"""Which machine works: this process, processes beside it, or a Dask cluster. The only file that
knows."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from flows.compute.dask_pool import DaskPool
from flows.compute.pool import GPU, Pool, ThisProcess
from flows.compute.waiting import Told, unheard, workers_watched
from flows.machine import available_cores
from flows.setting import WORK, Setting
from tiling.errors import InputError
from tiling.io.gdal_config import CACHE

if TYPE_CHECKING:
    from distributed import Security

    from segmentation.segmenter import Segmenter

SCHEDULER_TIMEOUT = 15
"""Seconds an existing scheduler has to answer, and its workers to be there."""

WORKERS_TIMEOUT = 600
"""Seconds a cluster that was asked for workers has to bring the first: queues and image pulls take
their time."""

WORTH_A_PROCESS = 4
"""Shards below which a worker process takes longer to start and import its libraries than it
saves."""

KEEP_FREED_MEMORY = (
    ("MALLOC_MMAP_THRESHOLD_", -3, 2**30),
    ("MALLOC_TRIM_THRESHOLD_", -1, 2**31 - 1),
    ("MALLOC_ARENA_MAX", -8, 1),
)
"""What keeps glibc from handing freed memory back: environment variable, parameter of mallopt
(malloc.h), value.

Otherwise the kernel maps and zeroes the activations of every layer anew, a fifth of a network's
time on a CPU. One arena, because no other than the first holds blocks that large.
"""

OURS = {
    "distributed.scheduler.allowed-failures": 5,
    "distributed.scheduler.worker-ttl": "60s",  # a worker that is silent for so long is given up
    "distributed.worker.multiprocessing-method": "spawn",
}
"""Settings of Dask for workers on this machine."""

TLS = {"ca_file": "tls_ca_file", "cert": "tls_client_cert", "key": "tls_client_key"}
"""Settings of an existing cluster whose connections are encrypted, and what Dask calls them."""

T = TypeVar("T")


@dataclass(frozen=True)
class Launcher:
    """A class of Dask's ecosystem that starts workers somewhere."""

    path: str
    extra: str = ""
    """The extra of this package that installs it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it is given unless a person says otherwise."""


LAUNCHERS: Mapping[str, Launcher] = {
    "kubernetes": Launcher(
        "dask_kubernetes.operator.KubeCluster", "kubernetes", {"name": "landweave"}
    ),
    "slurm": Launcher(
        "dask_jobqueue.SLURMCluster", "slurm", {"cores": 1, "processes": 1, "memory": "8GB"}
    ),
    "gateway": Launcher("dask_gateway.GatewayCluster", "gateway"),
}
"""Clusters by a name of their own; any other class is named by its dotted path."""


class Cluster(BaseModel):
    """Where the work is done: one setting for every machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: Annotated[
        int | None,
        Field(ge=0, title="Workers", description="Worker processes."),
        Setting(
            WORK,
            metavar="N",
            typed="0: none beside this one.",
            none=0,
            unset="fitted to machine and work",
        ),
    ] = None
    kind: Annotated[
        str,
        Field(
            title="Cluster",
            description="Which machines work: local, cuda, slurm, kubernetes, gateway, or the "
            "address of a Dask "
            "scheduler such as tcp://host:8786.",
        ),
        Setting(
            WORK,
            option="--cluster",
            metavar="NAME|ADDRESS|FILE",
            typed="Or the dotted path of a cluster's class, or a YAML file.",
            form="cluster",
        ),
    ] = "local"
    settings: Annotated[
        dict[str, JsonValue],
        Field(
            title="Settings of the cluster",
            description="Settings of the cluster, handed to its class; for an address ca_file, "
            "cert and key.",
        ),
        Setting(WORK, option="--cluster-set", metavar="KEY=VALUE,…", form=None),
    ] = {}

    @property
    def here(self) -> bool:
        """Whether the work is surely done on this machine."""
        return self.kind in ("local", "cuda")


HERE = Cluster(workers=0)
"""This process, without Dask."""


class Planned(Protocol):
    """The facts of a plan by which workers are started: its shards, its segmenter, its memory."""

    @property
    def shards(self) -> Sized: ...
    @property
    def segmenter(self) -> Segmenter: ...
    def worker_bytes(self, threads: int, at_once: int = 1) -> int:
        """Projected peak of a worker that computes on so many cores, so many shards at a time."""


@dataclass(frozen=True)
class Work:
    """How much there is to do, and what a worker takes for its share of it."""

    pieces: int = 1
    """Shards, or whatever is handed out one by one."""
    piece_bytes: int | Callable[[int, int], int] = 0
    """Bytes of a worker: for each piece it works on at once, or as a function of its cores and of
    those pieces."""
    gpu: bool = False
    """Whether it goes to workers with a graphics card, where there are any."""

    @classmethod
    def of(cls, plan: Planned) -> Self:
        """The shards of a plan."""
        return cls(len(plan.shards), plan.worker_bytes, plan.segmenter.uses_gpu)

    def worker_bytes(self, cores: int, at_once: int = 1) -> int:
        """Projected peak of a worker that computes on so many cores, so many pieces at a time."""
        if callable(self.piece_bytes):
            return self.piece_bytes(cores, at_once)
        return at_once * self.piece_bytes


@contextmanager
def start(cluster: Cluster = HERE, work: Work = Work(), told: Told = unheard) -> Iterator[Pool]:
    """A pool for the time of a `with` block, for that work; `told` hears where it waits for
    workers.

    Local workers are processes on the loopback interface that share out the cores. Raises
    `InputError` where a cluster cannot be reached or started, and where its workers have less
    memory than their share of the work takes.
    """
    if "://" in cluster.kind:
        yield from _existing(cluster, work, told)
    elif cluster.kind == "cuda":
        yield from _with_cards(cluster, work)
    elif cluster.kind != "local":
        yield from _launch(cluster, work, told)
    else:
        workers = worker_count(work) if cluster.workers is None else cluster.workers
        check_memory(max(1, workers), work)
        if workers > 0:
            yield from _local(workers, cluster.settings)
        else:
            keep_freed_memory()
            yield ThisProcess()


def cluster_from(name: str, workers: int | None, settings: Mapping[str, Any]) -> Cluster:
    """The cluster a person named: a kind, an address, a dotted class, or a YAML file of these
    fields."""
    from flows.parsing import read_settings, validate

    path = Path(name)
    given: dict[str, Any] = {"kind": name or "local"}
    if path.suffix in (".yaml", ".yml"):
        given = read_settings(path, "kind: slurm")
    if workers is not None:
        given["workers"] = workers
    told = given.get("settings") or {}
    given["settings"] = {**told, **settings} if isinstance(told, dict) else told
    cluster = validate(Cluster, **given)
    named = cluster.kind in ("local", "cuda", *LAUNCHERS) or "://" in cluster.kind
    dotted = cluster.kind.split(".")
    if not named and not (len(dotted) > 1 and all(part.isidentifier() for part in dotted)):
        raise InputError(
            f"there is no cluster {cluster.kind!r}; say local, cuda, {', '.join(LAUNCHERS)}, the "
            "address of a "
            "scheduler such as tcp://127.0.0.1:8786, or the dotted path of a class"
        )
    return cluster


def _local(workers: int, settings: Mapping[str, Any]) -> Iterator[Pool]:
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set(OURS | {"distributed.nanny.pre-spawn-environ": environment_of(workers)}),
        LocalCluster(
            **{
                "n_workers": workers,
                "threads_per_worker": 1,
                "processes": True,
                "host": "127.0.0.1",
                "dashboard_address": "127.0.0.1:0",
                "silence_logs": 50,
                **settings,
            }
        ) as cluster,
        Client(cluster) as client,
    ):
        yield DaskPool(client)


def environment_of(processes: int) -> dict[str, str]:
    """Variables of each of so many processes that share this machine's cores, set before they
    import a library."""
    threads = str(max(1, available_cores() // processes))
    libraries = ("OMP", "MKL", "OPENBLAS", "GDAL")
    environment = {f"{name}_NUM_THREADS": threads for name in libraries} | {
        "GDAL_CACHEMAX": str(CACHE >> 20)
    }
    return environment | {variable: str(value) for variable, _, value in KEEP_FREED_MEMORY}


def _with_cards(cluster: Cluster, work: Work) -> Iterator[Pool]:
    """A process for each graphics card of this machine, and others beside them for what needs
    none."""
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    cards = visible_cards()
    if not cards:
        raise InputError(
            "cluster cuda: this machine shows no NVIDIA graphics card (nvidia-smi -L); leave "
            "--cluster out"
        )
    if cluster.settings:
        raise InputError(
            "cluster cuda takes no settings; choose cards with the variable CUDA_VISIBLE_DEVICES"
        )
    # While the cards compute these processes rest, and later the other way round: both have all
    # cores.
    beside = (
        max(1, worker_count(replace(work, gpu=False)))
        if cluster.workers is None
        else cluster.workers
    )
    check_memory(len(cards), work)

    def process(processes: int, nthreads: int, card: str, **options: Any) -> dict[str, Any]:
        variables = environment_of(processes) | {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": card,
        }
        options |= {"nthreads": nthreads, "env": variables, "dashboard": False, "host": "127.0.0.1"}
        return {"cls": Nanny, "options": options}

    on_cards = {f"card-{card}": process(len(cards), 1, card, resources={GPU: 1}) for card in cards}
    on_cores = {f"cores-{number}": process(beside, 1, "") for number in range(beside)}
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
    }
    with (
        dask.config.set(OURS),
        SpecCluster(on_cards | on_cores, scheduler=scheduler, silence_logs=50) as started,
        Client(started) as client,
    ):
        client.wait_for_workers(len(cards) + beside)
        yield DaskPool(client)


def visible_cards() -> list[str]:
    """The graphics cards, or slices of them, that this process may use: as its environment says,
    else all there are."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [card for card in named.split(",") if card.strip() not in ("", "-1", "NoDevFiles")]
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    answer = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=60, check=False)
    lines = answer.stdout.splitlines() if answer.returncode == 0 else []
    uuids = [
        found[1] for line in lines if (found := re.search(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", line))
    ]
    slices = [uuid for uuid in uuids if uuid.startswith("MIG-")]
    return slices or uuids  # a card that is cut into slices computes through these alone


def _existing(cluster: Cluster, work: Work, told: Told) -> Iterator[Pool]:
    from distributed import Client

    address = cluster.kind
    try:
        client = Client(
            address, timeout=SCHEDULER_TIMEOUT, security=_security(address, cluster.settings)
        )
    except TypeError as error:  # what Dask's TLS raises without certificates
        raise InputError(
            f"{address} needs certificates; name them with --cluster-set "
            "ca_file=FILE,cert=FILE,key=FILE"
        ) from error
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address}: {error}; start one or leave --cluster out"
        ) from error
    with client:
        wanted = cluster.workers or 1
        try:
            client.wait_for_workers(wanted, timeout=SCHEDULER_TIMEOUT)
        except TimeoutError as error:
            raise InputError(
                f"the Dask scheduler at {address} has {len(client.nthreads())} workers instead of "
                f"{wanted}; "
                f"start some with: dask worker {address}"
            ) from error
        with workers_watched(
            lambda: len(client.nthreads()), f"the Dask scheduler at {address}", told
        ):
            yield _check_workers(DaskPool(client), work)


def _security(address: str, settings: Mapping[str, Any]) -> Security | None:
    """Keys and certificates of a `tls://` address; those of Dask's own configuration where none are
    given."""
    from distributed import Security

    if unknown := [name for name in settings if name not in TLS]:
        raise InputError(f"{address} takes the settings {', '.join(TLS)}, not {', '.join(unknown)}")
    for name, file in settings.items():
        if not Path(str(file)).is_file():
            raise InputError(
                f"{name} {file} of {address} is no file; name the one that the scheduler's owner "
                "gave you"
            )
    if not address.startswith("tls://"):
        if settings:
            raise InputError(
                f"{address} is not encrypted; write {address.replace('tcp://', 'tls://')} to use "
                f"{name}"
            )
        return None
    named = {TLS[name]: str(file) for name, file in settings.items()}
    return Security(require_encryption=True, **named)


def _launch(cluster: Cluster, work: Work, told: Told) -> Iterator[Pool]:
    from distributed import Client

    launcher = LAUNCHERS.get(cluster.kind, Launcher(cluster.kind))
    settings = {**dict(launcher.settings), **cluster.settings}
    made = _class(launcher)
    try:
        started = made(**settings)
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        what = " ".join(str(error).split())
        raise InputError(
            f"cluster {cluster.kind} does not start: {what}; mend its settings: {settings}"
        ) from error
    with started, Client(started, timeout=SCHEDULER_TIMEOUT) as client:
        started.scale(cluster.workers or min(work.pieces, 8))
        if not client.nthreads():
            told(f"waits for the first worker of cluster {cluster.kind}, which its queue gives")
        try:
            client.wait_for_workers(1, timeout=WORKERS_TIMEOUT)
        except TimeoutError as error:
            raise InputError(
                f"cluster {cluster.kind} brought no worker within {WORKERS_TIMEOUT // 60} "
                "minutes; look at its queue"
            ) from error
        with workers_watched(lambda: len(client.nthreads()), f"cluster {cluster.kind}", told):
            yield _check_workers(DaskPool(client), work)


def _class(launcher: Launcher) -> Any:
    """The cluster's class; anything else of that name is not called."""
    from distributed.deploy.cluster import Cluster as DaskCluster

    module, _, name = launcher.path.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), name)
    except ImportError as error:
        package = (
            f"pip install 'landweave[{launcher.extra}]'" if launcher.extra else f"install {module}"
        )
        raise InputError(f"{launcher.path} is not installed here ({error}); {package}") from error
    except AttributeError as error:
        raise InputError(
            f"{module} has no class {name}; name a cluster's class by its dotted path"
        ) from error
    if not isinstance(made, type) or not (
        issubclass(made, DaskCluster) or {"scale", "close", "__enter__"} <= set(dir(made))
    ):
        raise InputError(
            f"{launcher.path} is no class of Dask clusters; name one, such as "
            "dask_jobqueue.PBSCluster"
        )
    submit = str(getattr(getattr(made, "job_cls", None), "submit_command", "")).split()
    if (
        submit and shutil.which(submit[0]) is None
    ):  # dask_jobqueue would log that, and wait for workers
        raise InputError(
            f"{launcher.path} submits jobs with {submit[0]}, and this machine has no such "
            "command; start landweave "
            "where jobs are submitted"
        )
    return made


def _check_workers(pool: DaskPool, work: Work) -> DaskPool:
    """The pool, each of whose workers that get the work has the memory for its share, by what it
    says of itself."""
    sizes = pool.sizes(gpu=work.gpu)
    cores = pool.everywhere(_cores_given(), gpu=work.gpu)
    for address, (limit, at_once) in sizes.items():
        own = cores.get(address)
        if not isinstance(own, int):
            continue  # what keeps it from answering is told when workers are checked
        if 0 < limit < (needed := work.worker_bytes(own, at_once)):
            raise InputError(
                f"worker {address} would take {needed / 2**30:.1f} GiB on its {own} cores, "
                f"{at_once} pieces of work at "
                f"once, and may use {limit / 2**30:.1f}; take a smaller --shard or --tile, or "
                "start workers with fewer "
                "OMP_NUM_THREADS or --nthreads, or a higher --memory-limit"
            )
    return pool


def _cores_given() -> Callable[[], int]:
    """A function that tells on how many cores a process computes. It travels by value, as `probe`
    has it."""

    def cores_given() -> int:
        import os

        given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        if given.isdecimal() and int(given) > 0:
            return int(given)
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )

    return cores_given


def worker_count(work: Work) -> int:
    """How many local processes suit this machine and this work: at most one a core; 0 where one
    would do."""
    cores, memory = available_cores(), available_memory()
    most = min(cores, work.pieces // WORTH_A_PROCESS)
    fit = (n for n in range(most, 1, -1) if n * work.worker_bytes(cores // n) <= memory)
    return next(fit, 0)


def keep_freed_memory() -> None:
    """Let this process reuse what it frees, where its C library is glibc."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for _, parameter, value in KEEP_FREED_MEMORY:
            mallopt(parameter, value)


def check_memory(workers: int, work: Work) -> None:
    """Refuse work that would not fit into this machine's memory."""
    needed = workers * work.worker_bytes(max(1, available_cores() // workers))
    if needed > available_memory():
        raise InputError(
            f"{workers} workers would need {needed / 2**30:.1f} GiB and "
            f"{available_memory() / 2**30:.1f} GiB are free; take fewer --workers or a smaller "
            "--shard or --tile"
        )


def available_memory() -> int:
    """Bytes this machine can still give."""
    import psutil

    return int(psutil.virtual_memory().available)


def require_same_answer(answers: Mapping[str, T | Exception], what: str) -> T:
    """The one answer all workers gave; `InputError` where they differ or one could not say."""
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            raise InputError(f"worker {name} cannot say {what}: {answer}")
    values = list(answers.values())
    odd = {name: value for name, value in answers.items() if value != values[0]}
    if odd:
        name, value = next(iter(odd.items()))
        raise InputError(
            f"workers differ in {what}: {next(iter(answers))} has {values[0]}, {name} has {value}; "
            "give all workers the same environment"
        )
    return cast(T, values[0])
