"""Where a figure comes from: the source that decides it, the commit, the versions of packages, when.

What a run keeps of that, and where, belongs to ``runs`` and ``experiments``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import diffsasrec
from workbench.paths import repository_root

_DECIDING = ("datasets/dataset.py", "experiments.py", "open_runs.py", "recipes.py", "warm_starts.py")
_PACKAGES = ("torch", "numpy", "pandas", "safetensors", "pyarrow")


def source_hash(notebook: str | None = None) -> str:
    """Return 16 hex digits of the code that decides a run's figures, and of the notebook that made it, if any."""
    path = repository_root() / "notebooks" / f"{notebook}.ipynb"
    cells = hash_of_cells(path) if notebook is not None and path.is_file() else ""
    return hashlib.sha256(f"{_core_hash()} {cells}".encode()).hexdigest()[:16]


def hash_of_cells(notebook: Path) -> str:
    """Return 16 hex digits of a notebook's cells, whatever their outputs."""
    cells = [
        [cell["cell_type"], "".join(cell["source"])]
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    ]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]


def provenance() -> dict[str, Any]:
    """Return what a figure depends on beside its config: commit, versions of packages, when."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": _git(),
        "packages": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


@functools.cache
def _core_hash() -> str:
    """Hash the source that the process runs: the core, and what decides how it is trained, judged and decoded."""
    core = Path(diffsasrec.__file__).parent
    files = [*sorted(core.rglob("*.py")), *(Path(__file__).parent / name for name in _DECIDING)]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _git() -> dict[str, Any]:
    """Return commit and dirty flag of the repository; None for both where there is none."""
    commands = {"commit": ["rev-parse", "HEAD"], "dirty": ["status", "--porcelain"]}
    found: dict[str, Any] = dict.fromkeys(commands)
    for name, command in commands.items():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            found[name] = subprocess.run(
                ["git", "-C", str(repository_root()), *command],
                capture_output=True,
                text=True,
                check=True,
                timeout=20,
            ).stdout.strip()
    return {"commit": found["commit"], "dirty": None if found["dirty"] is None else bool(found["dirty"])}
