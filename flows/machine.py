"""What this machine gives this process."""

from __future__ import annotations

import os

RESTING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""What lets the threads of OpenMP sleep while they wait for each other (OpenMP 5.2, 21.7).

Else those of libgomp turn in circles for a while, on a core that somebody else could use.
"""

_ASKED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which a person says how threads wait."""


def rest_threads() -> dict[str, str]:
    """Variables that let threads sleep while they wait; none where a person has said how.

    A library reads them when it is loaded. What is computed stays the same to the bit.
    """
    return {} if any(name in os.environ for name in _ASKED) else dict(RESTING)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
