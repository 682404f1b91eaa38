"""Where things lie: the only place that knows. Environment variables first, then folders of the repository."""

from __future__ import annotations

import os
from pathlib import Path


def repository_root() -> Path:
    """Return the folder of the checkout; the current folder when the package is installed elsewhere."""
    here = Path(__file__).resolve().parents[1]
    return here if (here / "pyproject.toml").is_file() else Path.cwd()


def data_dir() -> Path:
    """Return the folder of raw data, one folder per data set: ``DIFFSASREC_DATA``, else ``data/raw``."""
    return _from_environment("DIFFSASREC_DATA", repository_root() / "data" / "raw")


def cache_dir() -> Path:
    """Return the folder of prepared data: ``DIFFSASREC_CACHE``, else ``data/cache``."""
    return _from_environment("DIFFSASREC_CACHE", repository_root() / "data" / "cache")


def runs_dir(override: str | Path | None = None) -> Path:
    """Return the folder of runs: ``override`` where it is given, else ``runs``."""
    return _absolute(override) if override else repository_root() / "runs"


def _from_environment(variable: str, default: Path) -> Path:
    value = os.environ.get(variable)
    return _absolute(value) if value else default


def _absolute(path: str | Path) -> Path:
    """Return the path from the root, so that a change of the current folder changes nothing."""
    return Path(path).expanduser().absolute()
