"""Which machine works: this process, processes beside it, or a Dask cluster. The only file that
knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from flows.compute.cards import visible_cards
from flows.compute.dask_pool import DaskPool
from flows.compute.launchers import LAUNCHERS, Launcher, load_class
from flows.compute.pool import GPU, Pool, ThisProcess
from flows.compute.resources import (
    check_memory,
    check_workers,
    environment_of,
    keep_environment,
    keep_freed_memory,
    shards_at_once,
    worker_count,
)
from flows.compute.waiting import Told, unheard, workers_watched
from flows.compute.work import Work
from flows.setting import WORK, Setting
from tiling.errors import InputError

if TYPE_CHECKING:
    from distributed import Security


SCHEDULER_TIMEOUT = 15
"""Seconds an existing scheduler has to answer, and its workers to be there."""

WORKERS_TIMEOUT = 600
"""Seconds a cluster that was asked for workers has to bring the first: queues and image pulls take
their time."""

OURS = {
    "distributed.scheduler.allowed-failures": 5,
    "distributed.scheduler.worker-ttl": "60s",  # a worker that is silent for so long is given up
    "distributed.worker.multiprocessing-method": "spawn",
}
"""Settings of Dask for workers on this machine."""

TLS = {"ca_file": "tls_ca_file", "cert": "tls_client_cert", "key": "tls_client_key"}
"""Settings of an existing cluster whose connections are encrypted, and what Dask calls them."""


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


@contextmanager
def start(
    cluster: Cluster = HERE,
    work: Work = Work(),  # noqa: B008 - frozen
    told: Told = unheard,
) -> Iterator[Pool]:
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
        if workers > 0 and work.gpu and not cluster.settings and visible_cards():
            # or all processes would compute on the first card
            yield from _with_cards(cluster, work)
            return
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
        keep_environment(),
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

    n = shards_at_once(len(cards), work)
    on_cards = {f"card-{card}": process(len(cards), n, card, resources={GPU: n}) for card in cards}
    on_cores = {f"cores-{number}": process(beside, 1, "") for number in range(beside)}
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
    }
    with (
        keep_environment(),
        dask.config.set(OURS),
        SpecCluster(on_cards | on_cores, scheduler=scheduler, silence_logs=50) as started,
        Client(started) as client,
    ):
        client.wait_for_workers(len(cards) + beside)
        yield DaskPool(client)


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
            yield check_workers(DaskPool(client), work)


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
    made = load_class(launcher)
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
            yield check_workers(DaskPool(client), work)
