"""Which machine works: this process, processes beside it, or a Dask cluster. The only file that knows."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from flows.pools import GPU, DaskPool, Pool, ThisProcess, available_cores
from tiling.cache import CACHE
from tiling.errors import Mistake

if TYPE_CHECKING:
    from distributed import Security

SCHEDULER_TIMEOUT = 15
"""Seconds an existing scheduler has to answer, and its workers to be there."""

WORKERS_TIMEOUT = 600
"""Seconds a cluster that was asked for workers has to bring the first: queues and image pulls take their time."""

WORTH_A_PROCESS = 4
"""Shards below which a worker process takes longer to start and import its libraries than it saves."""

KEEP_FREED_MEMORY = (
    ("MALLOC_MMAP_THRESHOLD_", -3, 2**30),
    ("MALLOC_TRIM_THRESHOLD_", -1, 2**31 - 1),
    ("MALLOC_ARENA_MAX", -8, 1),
)
"""What keeps glibc from handing freed memory back: environment variable, parameter of mallopt (malloc.h), value.

Otherwise the kernel maps and zeroes the activations of every layer anew, a fifth of a network's time on a CPU. One
arena, because no other than the first holds blocks that large.
"""

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
    "cuda": Launcher(
        "dask_cuda.LocalCUDACluster",
        "gpu",
        {"threads_per_worker": 1, "resources": {GPU: 1}, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
    ),
    "kubernetes": Launcher("dask_kubernetes.operator.KubeCluster", "kubernetes", {"name": "landweave"}),
    "slurm": Launcher("dask_jobqueue.SLURMCluster", "slurm", {"cores": 1, "processes": 1, "memory": "8GB"}),
    "gateway": Launcher("dask_gateway.GatewayCluster", "gateway"),
}
"""Clusters by a name of their own; any other class is named by its dotted path."""


class Cluster(BaseModel):
    """Where the work is done: one setting for every machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Annotated[
        str,
        Field(
            description="local, the address of a scheduler (tcp://… or tls://…), cuda, kubernetes, slurm, gateway, or "
            "the dotted path of a cluster's class."
        ),
    ] = "local"
    workers: Annotated[
        int | None, Field(ge=0, description="How many; empty: fitted to machine and work; 0: this process alone.")
    ] = None
    settings: Annotated[
        dict[str, JsonValue], Field(description="Handed to the cluster's class; for an address ca_file, cert and key.")
    ] = {}

    @property
    def here(self) -> bool:
        """Whether the work is surely done on this machine."""
        return self.kind in ("local", "cuda")


HERE = Cluster(workers=0)
"""This process, without Dask."""


@contextmanager
def start(cluster: Cluster = HERE, *, shards: int = 1, worker_bytes: int = 0) -> Iterator[Pool]:
    """A pool for the time of a `with` block, for `shards` pieces of work of `worker_bytes` each.

    Local workers are processes on the loopback interface that share out the cores. Raises `Mistake` where a cluster
    cannot be reached or started, and where its workers have less memory than a piece of work takes.
    """
    if "://" in cluster.kind:
        yield from _existing(cluster, worker_bytes)
    elif cluster.kind != "local":
        yield from _launched(cluster, shards, worker_bytes)
    else:
        workers = fitting(shards, worker_bytes) if cluster.workers is None else cluster.workers
        check_memory(max(1, workers), worker_bytes)
        if workers > 0:
            yield from _local(workers, cluster.settings)
        else:
            keep_freed_memory()
            yield ThisProcess()


def cluster_from(name: str, workers: int | None, settings: Mapping[str, Any]) -> Cluster:
    """The cluster a person named: a kind, an address, a dotted class, or a YAML file of these fields."""
    from flows.request import checked
    from flows.settings import read_settings

    path = Path(name)
    given: dict[str, Any] = {"kind": name or "local"}
    if path.suffix in (".yaml", ".yml"):
        given = read_settings(path, "kind: slurm")
    if workers is not None:
        given["workers"] = workers
    told = given.get("settings") or {}
    given["settings"] = {**told, **settings} if isinstance(told, dict) else told
    cluster = checked(Cluster, **given)
    if "://" not in cluster.kind and "." not in cluster.kind and cluster.kind not in ("local", *LAUNCHERS):
        raise Mistake(
            f"there is no cluster {cluster.kind!r}; say local, {', '.join(LAUNCHERS)}, the address of a scheduler such "
            "as tcp://127.0.0.1:8786, or the dotted path of a class"
        )
    return cluster


def _local(workers: int, settings: Mapping[str, Any]) -> Iterator[Pool]:
    import dask
    from distributed import Client, LocalCluster

    threads = str(max(1, available_cores() // workers))
    libraries = ("OMP", "MKL", "OPENBLAS", "GDAL")
    environment = {f"{name}_NUM_THREADS": threads for name in libraries} | {"GDAL_CACHEMAX": str(CACHE >> 20)}
    environment |= {variable: str(value) for variable, _, value in KEEP_FREED_MEMORY}
    with (
        dask.config.set(
            {
                "distributed.nanny.pre-spawn-environ": environment,
                "distributed.scheduler.allowed-failures": 5,
                "distributed.scheduler.worker-ttl": "60s",  # a worker that is silent for so long is given up
                "distributed.worker.multiprocessing-method": "spawn",
            }
        ),
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


def _existing(cluster: Cluster, worker_bytes: int) -> Iterator[Pool]:
    from distributed import Client

    address = cluster.kind
    try:
        client = Client(address, timeout=SCHEDULER_TIMEOUT, security=_security(address, cluster.settings))
    except (OSError, TimeoutError, ValueError) as error:
        raise Mistake(f"no Dask scheduler answers at {address}: {error}; start one or leave --cluster out") from error
    with client:
        wanted = cluster.workers or 1
        try:
            client.wait_for_workers(wanted, timeout=SCHEDULER_TIMEOUT)
        except TimeoutError as error:
            raise Mistake(
                f"the Dask scheduler at {address} has {len(client.nthreads())} workers instead of {wanted}; "
                f"start some with: dask worker {address}"
            ) from error
        yield _checked(DaskPool(client), worker_bytes)


def _security(address: str, settings: Mapping[str, Any]) -> Security | None:
    """Keys and certificates of a `tls://` address; those of Dask's own configuration where none are given."""
    from distributed import Security

    if unknown := [name for name in settings if name not in TLS]:
        raise Mistake(f"{address} takes the settings {', '.join(TLS)}, not {', '.join(unknown)}")
    for name, file in settings.items():
        if not Path(str(file)).is_file():
            raise Mistake(f"{name} {file} of {address} is no file; name the one that the scheduler's owner gave you")
    if not address.startswith("tls://"):
        if settings:
            raise Mistake(f"{address} is not encrypted; write {address.replace('tcp://', 'tls://')} to use {name}")
        return None
    named = {TLS[name]: str(file) for name, file in settings.items()}
    return Security(require_encryption=True, **named)


def _launched(cluster: Cluster, shards: int, worker_bytes: int) -> Iterator[Pool]:
    from distributed import Client

    launcher = LAUNCHERS.get(cluster.kind, Launcher(cluster.kind))
    settings = {**dict(launcher.settings), **cluster.settings}
    try:
        started = _class(launcher)(**settings)
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        what = " ".join(str(error).split())
        raise Mistake(f"cluster {cluster.kind} does not start: {what}; mend its settings: {settings}") from error
    with started, Client(started, timeout=SCHEDULER_TIMEOUT) as client:
        if cluster.workers is not None or cluster.kind not in ("cuda",):
            started.scale(cluster.workers or min(shards, 8))
        try:
            client.wait_for_workers(1, timeout=WORKERS_TIMEOUT)
        except TimeoutError as error:
            raise Mistake(
                f"cluster {cluster.kind} brought no worker within {WORKERS_TIMEOUT // 60} minutes; look at its queue"
            ) from error
        yield _checked(DaskPool(client), worker_bytes)


def _class(launcher: Launcher) -> Any:
    module, _, name = launcher.path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        package = f"pip install 'landweave[{launcher.extra}]'" if launcher.extra else f"install {module}"
        raise Mistake(f"{launcher.path} is not installed here ({error}); {package}") from error
    except AttributeError as error:
        raise Mistake(f"{module} has no class {name}; name a cluster's class by its dotted path") from error


def _checked(pool: DaskPool, worker_bytes: int) -> DaskPool:
    """The pool, each of whose workers has the memory for a piece of work."""
    for address, limit in pool.memory_limits().items():
        if 0 < limit < worker_bytes:
            raise Mistake(
                f"a shard takes {worker_bytes / 2**30:.1f} GiB and worker {address} may use {limit / 2**30:.1f}; "
                "take a smaller --shard or --tile, or start workers with a higher --memory-limit"
            )
    return pool


def fitting(shards: int, worker_bytes: int) -> int:
    """How many local processes suit this machine and this work: at most one a core; 0 where one would do."""
    workers = min(available_cores(), shards // WORTH_A_PROCESS, available_memory() // max(1, worker_bytes))
    return workers if workers > 1 else 0


def keep_freed_memory() -> None:
    """Let this process reuse what it frees, where its C library is glibc."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for _, parameter, value in KEEP_FREED_MEMORY:
            mallopt(parameter, value)


def check_memory(workers: int, worker_bytes: int) -> None:
    """Refuse work that would not fit into this machine's memory."""
    if workers * worker_bytes > available_memory():
        raise Mistake(
            f"{workers} workers would need {workers * worker_bytes / 2**30:.1f} GiB and "
            f"{available_memory() / 2**30:.1f} GiB are free; take fewer --workers or a smaller --shard or --tile"
        )


def available_memory() -> int:
    """Bytes this machine can still give."""
    import psutil

    return int(psutil.virtual_memory().available)


def agree(answers: Mapping[str, T | Exception], what: str) -> T:
    """The one answer all workers gave; `Mistake` where they differ or one could not say."""
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            raise Mistake(f"worker {name} cannot say {what}: {answer}")
    values = list(answers.values())
    odd = {name: value for name, value in answers.items() if value != values[0]}
    if odd:
        name, value = next(iter(odd.items()))
        raise Mistake(
            f"workers differ in {what}: {next(iter(answers))} has {values[0]}, {name} has {value}; "
            "give all workers the same environment"
        )
    return cast(T, values[0])
