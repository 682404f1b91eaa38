"""A run is a folder ``<runs>/<recipe>/<key>``: create, open, list and read it.

The list of runs is rebuilt from the folders each time; nothing appends to a shared file. Every file is written
beside its place under a fresh name and then renamed. Nothing outside the runs folder is ever opened.
What a run has reached is read and written by ``run_results``; how a run comes about belongs to ``experiments``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from diffsasrec.checkpoint import (
    CONFIG,
    VOCABULARY,
    WEIGHTS,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
)
from diffsasrec.config import nearest
from diffsasrec.files import make_folder
from diffsasrec.trace import DecodeTrace
from diffsasrec.training import BEST
from diffsasrec.vocabulary import Vocabulary
from workbench.datasets import Dataset, open_dataset
from workbench.provenance import source_hash
from workbench.run_files import (
    FORMAT,
    LOCK,
    MANIFEST,
    RESULTS_LOCK,
    TRACES,
    RunError,
    assert_inside,
    is_inside,
    locked,
    own_path,
    read_json,
    write_json,
)
from workbench.run_results import add_results, read_history, read_metrics, read_per_user

STATUSES = ("pending", "running", "done", "failed")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")  # also of no hidden folder, and never ".."
_LOCK_TRIES = 6
_MANIFEST_TYPES = {"recipe": str, "key": str, "config": dict, "dataset": dict, "status": str, "seed": int}


@dataclass(frozen=True)
class BrokenRun:
    """A folder where a run should be that cannot be used."""

    id: str
    reason: str


@dataclass(frozen=True)
class Run:
    """A run as its manifest described it when it was opened."""

    folder: Path
    id: str  # <recipe>/<key>
    manifest: dict[str, Any]

    @classmethod
    def create(cls, runs_dir: Path, recipe: str, key: str, manifest: Mapping[str, Any]) -> Run:
        """Make a run and return it; one that is there already, and whole, is returned as it is.

        Raises:
            RunError: a name that cannot be one, or a run that another process works on.
            WriteError: its folder cannot be written.
        """
        for name in (recipe, key):
            if not _NAME.fullmatch(name):
                raise RunError(f"{name!r} cannot name a run: use letters, digits, '.', '_', '~' and '-'")
        folder = runs_dir / recipe / key
        assert_inside(runs_dir, folder)
        make_folder(folder)
        content = {"format": FORMAT, "recipe": recipe, "key": key, **manifest}
        run = cls(folder, f"{recipe}/{key}", content)
        with run.locked():
            found = _read(runs_dir, run.id)  # another process may have made it, or finished it, a moment ago
            return found if isinstance(found, Run) else run.updated()

    @classmethod
    def open(cls, runs_dir: Path, id_or_prefix: str) -> Run:
        """Return the run ``<recipe>/<key>``, or the only one whose key begins with the given text.

        Raises:
            RunError: no such run, several of them, a broken one, or a text that is no id.
        """
        recipe, slash, prefix = id_or_prefix.rpartition("/")
        if not _NAME.fullmatch(prefix) or (slash and not _NAME.fullmatch(recipe)):
            raise RunError(
                f"{id_or_prefix!r} names no run: give <recipe>/<key>, or the first letters of a key, "
                "as `workbench runs` lists them"
            )
        ids = _run_ids(runs_dir)
        wanted = [id_ for id_ in ids if id_ == id_or_prefix]
        if not wanted:
            wanted = [id_ for id_ in ids if _matches(id_, recipe, prefix)]
        if len(wanted) > 1:
            raise RunError(
                f"{id_or_prefix!r} could be {len(wanted)} runs ({', '.join(wanted[:4])}): give more letters"
            )
        if not wanted:
            raise RunError(_no_such_run(runs_dir, id_or_prefix, ids))
        run = _read(runs_dir, wanted[0])
        if isinstance(run, BrokenRun):
            raise RunError(f"the run {run.id} is broken: {run.reason}")
        return run

    @property
    def recipe(self) -> str:
        return self.manifest["recipe"]

    @property
    def key(self) -> str:
        return self.manifest["key"]

    @property
    def status(self) -> str:
        """One of ``STATUSES``; a run whose process is gone is not running but failed."""
        status = self.manifest["status"]
        if status == "running" and not self.is_locked:
            return "failed"
        return status

    @property
    def is_locked(self) -> bool:
        """True while a process works on the run."""
        try:
            with (self.folder / LOCK).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # nobody ever worked on it, or it is gone
            return False
        return False

    @property
    def stale(self) -> bool:
        """True where the code, or the notebook that made the run, has changed since."""
        return self.manifest.get("source_hash") != source_hash(self.manifest.get("notebook"))

    def updated(self, **changes: Any) -> Run:
        """Write the manifest with some entries changed and return the run with it."""
        manifest = {**self.manifest, **changes}
        write_json(self.folder / MANIFEST, manifest)
        return dataclasses.replace(self, manifest=manifest)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for oneself; raise ``RunError`` when another process works on it."""
        with contextlib.ExitStack() as stack:
            for tries_left in range(_LOCK_TRIES - 1, -1, -1):  # a look at ``is_locked`` holds it for a moment
                try:
                    stack.enter_context(locked(self.folder / LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB))
                    break
                except BlockingIOError as error:
                    if not tries_left:
                        raise RunError(
                            f"another process works on the run {self.id}: wait for it, or stop it"
                        ) from error
                    time.sleep(0.05)
            yield

    def emptied(self) -> Run:
        """Remove what training and evaluation left in the folder and return the run as one that never began."""
        run = self.updated(status="pending", duration=0.0)  # first: who dies here leaves no run that is done
        for path in self.folder.iterdir():
            if path.name in (LOCK, RESULTS_LOCK, MANIFEST):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        return run

    def metrics(self) -> dict[str, Any]:
        """Return what metrics.json holds; no results when nothing was evaluated yet."""
        return read_metrics(self.folder)

    def history(self) -> pd.DataFrame:
        """Return a row per evaluation of the training, each validation figure a column of its own."""
        return read_history(self.folder)

    def per_user(self) -> pd.DataFrame:
        """Return a row per evaluated user and result, with ``PER_USER_COLUMNS``."""
        return read_per_user(self.folder)

    def load_checkpoint(self, which: str = BEST, *, vocabulary: Vocabulary | None = None) -> Checkpoint:
        """Return the ``best`` or ``last`` model of the run; errors are those of ``load_checkpoint``."""
        folder = own_path(self.folder, which)
        for name in (CONFIG, VOCABULARY, WEIGHTS):
            own_path(self.folder, f"{which}/{name}")
        try:
            return load_checkpoint(folder, vocabulary=vocabulary)
        except (CheckpointError, FileNotFoundError) as error:
            if self.manifest["status"] == "done":  # the same command would find it finished
                raise type(error)(f"{error} (with --force, for the run is done)") from error
            raise

    def dataset(self) -> Dataset:
        """Return the data set that the run was trained on.

        Raises:
            RunError: what is prepared under its name now is something else.
        """
        name, fingerprint = self.manifest["dataset"]["name"], self.manifest["dataset"]["fingerprint"]
        dataset = open_dataset(name)
        if dataset.fingerprint != fingerprint:
            raise RunError(
                f"the run {self.id} was trained on {name} with fingerprint {fingerprint}, but what is prepared "
                f"now has {dataset.fingerprint}: prepare the same files again, or train a new run"
            )
        return dataset

    def add_results(
        self,
        results: Sequence[Mapping[str, Any]],
        per_user: pd.DataFrame,
        *,
        references: Sequence[Mapping[str, Any]] = (),
        **about: Any,
    ) -> None:
        """Put results into metrics.json and per_user.parquet; older ones of the same kind give way."""
        add_results(self.folder, results, per_user, references=references, **about)

    def save_trace(self, name: str, trace: DecodeTrace) -> Path:
        """Write ``traces/<name>`` and return its path without the endings."""
        assert _NAME.fullmatch(name), name
        make_folder(self.folder / TRACES)
        trace.save(self.folder / TRACES / name)
        return self.folder / TRACES / name

    def traces(self) -> list[str]:
        """Return the names of the traces that are kept, in order."""
        return sorted(path.stem for path in (self.folder / TRACES).glob("*.json"))

    def load_trace(self, name: str) -> DecodeTrace:
        """Return a trace that was kept; raise ``RunError`` for a name that is none."""
        if name not in self.traces():
            close = nearest(name, self.traces())
            raise RunError(f"the run {self.id} has no trace {name!r}" + (f": {close!r}?" if close else ""))
        own_path(self.folder, f"{TRACES}/{name}.json")
        own_path(self.folder, f"{TRACES}/{name}.safetensors")
        return DecodeTrace.load(self.folder / TRACES / name)


def list_runs(runs_dir: Path) -> list[Run | BrokenRun]:
    """Return every run below ``runs_dir``, the newest first and the broken ones last."""
    found = [_read(runs_dir, id_) for id_ in _run_ids(runs_dir)]
    whole = [run for run in found if isinstance(run, Run)]
    broken = [run for run in found if isinstance(run, BrokenRun)]
    return [*sorted(whole, key=_created, reverse=True), *broken]


def _run_ids(runs_dir: Path) -> list[str]:
    """Return ``<recipe>/<key>`` of every folder that is in the place of a run, in order."""
    if not runs_dir.is_dir():
        return []
    recipes = [path for path in sorted(runs_dir.iterdir()) if _is_named_folder(path)]
    return [
        f"{recipe.name}/{path.name}"
        for recipe in recipes
        if is_inside(runs_dir, recipe)
        for path in sorted(recipe.iterdir())
        if _is_named_folder(path) and (not is_inside(runs_dir, path) or _has_begun(path))
    ]


def _created(run: Run) -> str:
    return str(run.manifest.get("created"))


def _is_named_folder(path: Path) -> bool:
    return _NAME.fullmatch(path.name) is not None and path.is_dir()


def _has_begun(folder: Path) -> bool:
    """Return whether a folder holds anything of a run; whoever makes one is killed before its manifest, or after."""
    files = {LOCK, RESULTS_LOCK, f"{MANIFEST}.tmp"}
    return not folder.is_dir() or any(path.name not in files for path in folder.iterdir())


def _matches(id_: str, recipe: str, prefix: str) -> bool:
    own_recipe, _, key = id_.partition("/")
    return key.startswith(prefix) and recipe in ("", own_recipe)


def _no_such_run(runs_dir: Path, wanted: str, ids: Sequence[str]) -> str:
    if not ids:
        return f"there is no run {wanted!r}, for {runs_dir} holds none: make one with `workbench train`"
    close = nearest(wanted, [*ids, *(id_.partition("/")[2] for id_ in ids)])
    hint = f"did you mean {close!r}?" if close is not None else f"one of them is {ids[0]!r}"
    return f"there is no run {wanted!r} among the {len(ids)} in {runs_dir}: {hint}"


def _read(runs_dir: Path, id_: str) -> Run | BrokenRun:
    """Return the run in a folder, or what is wrong with it."""
    folder = runs_dir / id_
    try:
        for path in (folder, folder / MANIFEST):
            assert_inside(runs_dir, path)
        manifest = read_json(folder / MANIFEST)
        _check_manifest(manifest, id_)
    except FileNotFoundError:
        return BrokenRun(id_, f"{MANIFEST} is missing: it is no run, or only half of one")
    except (OSError, RunError) as error:
        return BrokenRun(id_, str(error))
    return Run(folder, id_, manifest)


def _check_manifest(manifest: Any, id_: str) -> None:
    """Raise ``RunError`` unless the manifest has what everything here relies on."""
    if not isinstance(manifest, dict):
        raise RunError(f"{MANIFEST} holds no object")
    if manifest.get("format") != FORMAT:
        raise RunError(
            f"{MANIFEST} has format {manifest.get('format')!r}, this version reads format {FORMAT}"
        )
    for name, kind in _MANIFEST_TYPES.items():
        if not isinstance(manifest.get(name), kind):
            raise RunError(f"{MANIFEST} needs {name!r} as {kind.__name__}, got {manifest.get(name)!r}")
    config = manifest["config"]
    if not (isinstance(config.get("model"), str) and isinstance(config.get("split"), dict)):
        raise RunError(f"{MANIFEST} says in 'config' neither model nor split")
    if not isinstance(manifest.get("training"), dict | None):
        raise RunError(f"{MANIFEST} needs 'training' as dict or null, got {manifest['training']!r}")
    if not {"name", "fingerprint"} <= set(manifest["dataset"]):
        raise RunError(f"{MANIFEST} says neither name nor fingerprint of the data set")
    if manifest["status"] not in STATUSES:
        raise RunError(f"{MANIFEST} has status {manifest['status']!r}, known: {', '.join(STATUSES)}")
    if f"{manifest['recipe']}/{manifest['key']}" != id_:
        raise RunError(f"{MANIFEST} belongs to {manifest['recipe']}/{manifest['key']}: the folder was moved")
