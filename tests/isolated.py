"""The command line in processes of its own, each bounded in time and memory: `python -m
tests.isolated`.

Reads one JSON list of arguments a line, answers one JSON object a line. A process that imported
everything once forks for each, so that a crash, a hang or a hunger for memory ends one of them and
is told.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any, NamedTuple

from flows import cli

CPU_SECONDS, SECONDS = 60, 300
"""Computing, and waiting at most: on a machine that others use the clock says little."""
AT_ONCE = 2
ADDRESS_SPACE = 6 * 2**30
"""Bytes; a process that has imported everything and read nothing has mapped half of it."""

WANTED = (
    *(
        "flows.run.pipeline",
        "flows.reports.quicklook",
        "flows.run.record",
        "flows.products.rasters",
        "tiling.formats.vector_writers",
        "tiling.formats.qgis_project",
    ),
    *(
        "segmentation.classical.thresholds",
        "skimage.filters",
        "scipy.ndimage",
        "geopandas",
        "pyogrio",
        "dask.array",
    ),
    *(
        "pyarrow.pandas_compat",
        "matplotlib.figure",
        "matplotlib.patheffects",
        "matplotlib.backends.backend_agg",
    ),
    *("PIL.Image", "rich.progress", "rich.table"),
)
"""What every map would import, two seconds of computing. Not by making one: threads of C libraries
would be left, and a process that is forked beside them may wait for ever for what they held."""


class Outcome(NamedTuple):
    """How one call of the command line ended."""

    status: int
    """As the shell sees it; negative: the signal that ended it, SIGXCPU or SIGALRM where its time
    was over."""
    out: str
    err: str
    seconds: float
    """Of computing."""
    peak_bytes: int
    """Largest resident size, what was imported included."""


def run_isolated(calls: Sequence[Sequence[object]]) -> Iterator[Outcome]:
    """The outcome of each call of `landweave`, in their order; two are made at once."""
    halves = [calls[start::AT_ONCE] for start in range(AT_ONCE)]
    with ExitStack() as stack:
        answers = [stack.enter_context(_answered(half)) for half in halves]
        for number in range(len(calls)):
            yield Outcome(*json.loads(answers[number % AT_ONCE].readline()))


@contextmanager
def _answered(calls: Sequence[Sequence[object]]) -> Iterator[IO[str]]:
    """What a process says that makes these calls one after the other."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as given:
        given.writelines(json.dumps([str(word) for word in call]) + "\n" for call in calls)
        given.seek(0)
        command = [sys.executable, "-m", "tests.isolated"]
        with subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process.stdout
            finally:
                process.kill()


def one(arguments: list[str]) -> Outcome:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        if (child := os.fork()) == 0:
            os._exit(_in_child(arguments, out.fileno(), err.fileno()))
        _, status, usage = os.wait4(child, 0)
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read(100_000).decode(errors="replace"))
    computing = round(usage.ru_utime + usage.ru_stime, 2)
    return Outcome(os.waitstatus_to_exitcode(status), *said, computing, usage.ru_maxrss * 1024)


def _in_child(arguments: list[str], out: int, err: int) -> int:
    signal.alarm(SECONDS)  # its default is to end the process, whatever C code it is in
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.argv = ["landweave", *arguments]
    status = 0
    try:
        cli.main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def main() -> None:
    for name in WANTED:
        importlib.import_module(name)
    for line in sys.stdin:
        answer: Any = one(json.loads(line))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
