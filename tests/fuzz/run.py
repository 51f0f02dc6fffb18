"""Fuzz one target: `python -m tests.fuzz.run raster --seconds 20 --seed 1 --folder DIR`; needs atheris (Linux).

Ends with status 0, or with another and the input that did it in the folder. `--input FILE` meets one file again.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import warnings
from pathlib import Path

MEGABYTES = 3000
"""A process may take beside what it had when it began to fuzz."""

SECONDS_EACH = 20


def main() -> None:
    arguments = parser().parse_args()
    warnings.simplefilter("ignore")
    if arguments.input:
        from tests.fuzz.targets import TARGETS, check

        print(check(TARGETS[arguments.target], arguments.input.read_bytes()) or "taken")
        return
    fuzz(arguments.target, arguments.seconds, arguments.seed, arguments.folder)


def fuzz(name: str, seconds: int, seed: int, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["tiling", "segmentation", "flows"]):
        from tests.fuzz.targets import TARGETS, check

        target = TARGETS[name]
        seeds = target.seeds()
        for one in seeds:
            check(target, one)  # imports, once, what the target needs
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(content)

    def mutate(content: bytes, most: int, chance: int) -> bytes:
        dice = random.Random(chance)
        changed = atheris.Mutate(content, most) if dice.random() < 0.5 else content
        return (target.mutate(changed, dice) if target.mutate and dice.random() < 0.7 else changed)[:most]

    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-timeout={SECONDS_EACH}",
        # libFuzzer looks at the largest size so far, which a process inherits from the one that started it.
        f"-rss_limit_mb={MEGABYTES + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}",
        f"-artifact_prefix={folder}/",
        "-max_len=65536",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda content: check(target, content), custom_mutator=mutate)
    atheris.Fuzz()


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("target")
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--folder", type=Path, default=Path("fuzz-findings"))
    options.add_argument("--input", type=Path)
    return options


if __name__ == "__main__":
    main()
