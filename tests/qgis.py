"""What QGIS says of files, asked as a user's own: by Debian's Python, without a screen."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

PYTHON = "/usr/bin/python3"


def ask_qgis(script: str, *arguments: str, home: Path) -> Any:
    """What a script that imports qgis prints in its last line, as JSON; skips where there is no
    QGIS. `home` is the folder in which QGIS may leave settings of its own."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "GDAL", "PROJ"))
    }
    environment |= {
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(home),
        "HOME": str(home),
    }

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PYTHON, "-c", *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    if not Path(PYTHON).exists() or run("import qgis.core").returncode:
        pytest.skip(f"{PYTHON} has no qgis: apt-get install python3-qgis")
    done = run(script, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
