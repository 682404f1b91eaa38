"""Notebooks as jobs: their parameters checked, their outputs placed, and finished ones recognised.

Nothing is executed here: that is batch.py's work, in processes of kernels.py. A job survives JSON, so that it can be
handed to another process or another machine.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import papermill

from diffsasrec.config import config_hash, from_dict, unknown_name
from workbench.kernels import is_stamped
from workbench.parameters import listed
from workbench.paths import repository_root

TRAINING = "02_train"  # the notebook that makes a run
NOTEBOOK = "notebook.ipynb"  # its executed form, in the run
LOOSE = "_notebooks"  # below the runs folder: executed notebooks that belong to no run, and unfinished ones
_TYPES = {"str": str, "int": int, "float": float, "bool": bool}


@dataclass(frozen=True)
class Job:
    """One notebook to execute, with parameters that were checked."""

    source: Path  # the notebook
    parameters: dict[str, Any]
    output: Path  # where the executed notebook is kept
    runs_dir: Path
    key: str  # by which a finished job is recognised
    run: str | None = None  # the id of the run it makes or reads
    needs: tuple[str, ...] = ()  # keys of jobs that must be done before

    @property
    def notebook(self) -> str:
        """Its name, without folder and ending."""
        return self.source.stem

    @property
    def name(self) -> str:
        """What a line of progress calls it."""
        return " ".join([self.notebook, *filter(None, [self.run or self.parameters.get("dataset")])])

    @property
    def draft(self) -> Path:
        """Where the notebook is written while it runs."""
        return self.runs_dir / LOOSE / f"unfinished-{self.notebook}-{self.key}.ipynb"

    def order(self) -> dict[str, Any]:
        """Return what a process that executes the job has to know: JSON values."""
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()
        } | {
            "draft": str(self.draft),
            "lock": str(self.runs_dir / LOOSE / "locks" / self.key),
        }


def find_notebook(notebook: str) -> Path:
    """Return the file of a notebook, given by its path or by the name of one in ``notebooks/``.

    Raises:
        ValueError: there is no such notebook.
    """
    if notebook.endswith(".ipynb") and Path(notebook).is_file():
        return Path(notebook).resolve()
    folder = repository_root() / "notebooks"
    known = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    if notebook not in known:
        raise unknown_name("notebook", notebook, known)
    return known[notebook]


def notebook_parameters(notebook: str) -> dict[str, dict[str, Any]]:
    """Return name, type, default and help of each parameter of a notebook, as papermill reads them."""
    return papermill.inspect_notebook(str(find_notebook(notebook)))


def check_parameters(notebook: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with integers as floats where floats are due; papermill itself would only warn.

    Raises:
        ValueError: an unknown parameter, with the nearest one named, or a value of the wrong type.
    """
    known = notebook_parameters(notebook)
    checked = {}
    for name, value in parameters.items():
        if name not in known:
            raise unknown_name(f"parameter of {notebook}", name, known)
        checked[name] = _typed(notebook, name, value, known[name]["inferred_type_name"])
    return checked


def plan(notebook: str, parameters: Mapping[str, Any], *, runs_dir: Path, needs: Sequence[Job] = ()) -> Job:
    """Return the job of a notebook, everything about it checked before a kernel starts.

    Raises:
        ValueError, FileNotFoundError: parameters or data that cannot be used.
    """
    from workbench import (
        experiments,
        provenance,
    )  # here: a worker process, which imports this file, needs no torch
    from workbench.datasets import open_dataset
    from workbench.recipes import recipe
    from workbench.runs import Run

    source = find_notebook(notebook)
    checked = check_parameters(notebook, parameters)
    known = notebook_parameters(notebook)
    _check_decoding(checked)
    runs_dir = runs_dir.resolve()
    if "runs_dir" in known:
        checked["runs_dir"] = str(runs_dir)
    if checked.get("run") and checked["run"] not in {job.run for job in needs}:
        checked["run"] = Run.open(runs_dir, checked["run"]).id  # in full, and there
    values = {name: ast.literal_eval(entry["default"]) for name, entry in known.items()} | checked
    values.pop("runs_dir", None)
    after = tuple(job.key for job in needs)
    if source.stem == TRAINING:
        values.pop("num_processes", None)  # by how many, not what
        config = recipe(**values)
        fingerprint = open_dataset(config.dataset).fingerprint
        key = experiments.run_key(config, fingerprint, notebook=source.stem)
        run = f"{config.recipe}/{key}"
        return Job(source, checked, runs_dir / run / NOTEBOOK, runs_dir, key, run, after)
    data = open_dataset(values["dataset"]).fingerprint if "dataset" in values else None
    key = config_hash([source.stem, values, data, provenance.source_hash(), provenance.hash_of_cells(source)])
    run = values.get("run") or None
    is_usual = bool(run) and set(checked) <= {"run", "runs_dir"}  # else several may belong to a run
    name = f"{source.stem}.ipynb" if is_usual else f"{source.stem}-{key}.ipynb"
    output = (runs_dir / run if run else runs_dir / LOOSE) / name
    return Job(source, checked, output, runs_dir, key, run, after)


def _check_decoding(parameters: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` where no rule decodes so: at once, not after the trainings that a notebook waits for."""
    from diffsasrec.decode_config import DecodeConfig  # here: a worker process needs no torch

    fields = {field.name for field in dataclasses.fields(DecodeConfig)}
    given = {name: value for name, value in parameters.items() if name in fields and value is not None}
    if "rule" in given:
        from_dict(DecodeConfig, given)
    for rule in listed("rules", parameters.get("rules"), str, default=[]):
        DecodeConfig(rule=rule)


def is_finished(job: Job) -> bool:
    """Return whether the job was done before, by the same code with the same parameters."""
    if job.notebook == TRAINING:
        from workbench.run_files import RunError
        from workbench.runs import Run

        try:
            return Run.open(job.runs_dir, str(job.run)).status == "done"
        except RunError:
            return False
    return is_stamped(job.output, job.key)


def state_of(job: Job) -> str:
    """Return what a batch would find: ``finished``, ``resumes`` where a training was interrupted, or ``new``."""
    from workbench.run_files import RunError
    from workbench.runs import Run

    if is_finished(job):
        return "finished"
    if job.notebook != TRAINING:
        return "new"
    try:
        return "resumes" if Run.open(job.runs_dir, str(job.run)).status != "pending" else "new"
    except RunError:
        return "new"


def forget_training(job: Job) -> None:
    """Empty the run of a training job, so that its notebook trains anew."""
    from workbench.run_files import RunError
    from workbench.runs import Run

    try:
        run = Run.open(job.runs_dir, str(job.run))
    except RunError:  # there is nothing to forget
        return
    with run.locked():
        run.emptied()


def _typed(notebook: str, name: str, value: Any, type_name: str) -> Any:
    """Return a value of the annotated type, ``Optional[...]`` included."""
    is_optional = type_name.startswith("Optional[")
    kind = _TYPES[type_name.removeprefix("Optional[").removesuffix("]")]
    if value is None and is_optional:
        return None
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # an id that is a number, on a command line or in YAML
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    expected = kind.__name__ + (" or None" if is_optional else "")
    raise ValueError(f"{name} of {notebook} must be {expected}, got {value!r}")
