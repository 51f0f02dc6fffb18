"""Classes of Dask's ecosystem that start workers somewhere: those with a name of their own, and any
other by its dotted path."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiling.errors import InputError


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


def load_class(launcher: Launcher) -> Any:
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
    # dask_jobqueue would log that, and wait for workers
    if submit and shutil.which(submit[0]) is None:
        raise InputError(
            f"{launcher.path} submits jobs with {submit[0]}, and this machine has no such "
            "command; start landweave where jobs are submitted"
        )
    return made
