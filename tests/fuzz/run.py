"""Fuzz one target: `python -m tests.fuzz.run raster --seconds 20 --seed 1 --folder DIR`; needs
atheris (Linux).

Ends with status 0, or with another and the input that did it in the folder. `--input FILE` meets
one file again.
`--runs N` in place of `--seconds` meets N inputs, the same ones each time, as long as the tree and
the libraries are the same and `PYTHONHASHSEED` is 0.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

MEGABYTES = 3000
"""A process may take beside what it had when it began to fuzz."""


class InOrder(dict[Any, None]):
    """A set that is gone through as it was filled.

    atheris 3.0 numbers the places in a function that it counts by going through a set of them,
    hashed by where they lie in memory: the same inputs had other features in each process, and
    other inputs came of them.
    """

    def add(self, one: Any) -> None:
        self[one] = None


def main() -> None:
    arguments = parser().parse_args()
    warnings.simplefilter("ignore")
    if arguments.input:
        from tests.fuzz.targets import TARGETS, check

        print(check(TARGETS[arguments.target], arguments.input.read_bytes()) or "taken")
        return
    until = f"-runs={arguments.runs}" if arguments.runs else f"-max_total_time={arguments.seconds}"
    fuzz(
        arguments.target,
        arguments.folder,
        [until, f"-seed={arguments.seed}", f"-timeout={arguments.deadline}"],
    )


def fuzz(name: str, folder: Path, wishes: list[str]) -> None:
    import atheris
    from atheris import instrument_bytecode

    instrument_bytecode.set = InOrder
    with atheris.instrument_imports(include=["tiling", "segmentation", "flows"]):
        from tests.fuzz.targets import TARGETS, check

        target = TARGETS[name]
        seeds = target.seeds()
        for one in seeds:
            check(target, one)  # imports, once, what the target needs
    corpus, given = (
        folder / "corpus",
        [folder / "seeds" / str(number) for number in range(len(seeds))],
    )
    for inner in (corpus, folder / "seeds"):
        inner.mkdir(parents=True, exist_ok=True)
    for path, content in zip(given, seeds, strict=True):
        path.write_bytes(content)

    def mutate(content: bytes, most: int, chance: int) -> bytes:
        dice = random.Random(chance)
        changed = atheris.Mutate(content, most) if dice.random() < 0.5 else content
        return (target.mutate(changed, dice) if target.mutate and dice.random() < 0.7 else changed)[
            :most
        ]

    options = [
        *wishes,
        # A folder is read in any order and again every second, as if another process fuzzed into
        # it.
        f"-seed_inputs={','.join(map(str, given))}",
        "-reload=0",
        # libFuzzer looks at the largest size so far, which a process inherits from the one that
        # started it.
        f"-rss_limit_mb={MEGABYTES + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}",
        f"-artifact_prefix={folder}/",
        "-max_len=65536",
        "-print_final_stats=1",
    ]

    def meet(content: bytes) -> None:
        try:
            check(target, content)
        except BaseException:
            # Python, as it ends, takes away the handler of the alarm by which libFuzzer keeps time.
            # One that rings then kills the process before the input is written.
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise

    atheris.Setup([sys.argv[0], *options, str(corpus)], meet, custom_mutator=mutate)
    atheris.Fuzz()


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("target")
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--runs", type=int, default=0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--deadline", type=int, default=20, help="seconds that one input may take")
    options.add_argument("--folder", type=Path, default=Path("fuzz-findings"))
    options.add_argument("--input", type=Path)
    return options


if __name__ == "__main__":
    main()
