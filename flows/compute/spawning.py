"""What a process that is started beside this one imports before it has any work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def empty_main() -> Iterator[None]:
    """Processes spawned within the block import nothing of the program that runs.

    `multiprocessing` has each one import the main module again. In a flow run that is
    `prefect.engine`: 5 s and 100 MB a worker; and a person's script, which need not ask whether it
    is the main program, would begin once more in each.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
