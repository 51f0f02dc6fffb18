"""Processes to be killed, of which many are: forked from one that imported everything, each is at
work in no time."""

from __future__ import annotations

import multiprocessing

from tests.isolated import WANTED

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(
    [*WANTED, "flows.cli", "flows.plan.shard", "flows.series.monitor", "distributed"]
)
