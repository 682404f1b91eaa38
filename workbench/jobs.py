"""Notebooks as jobs: their parameters checked, their outputs placed, and finished ones recognised.

Nothing is executed here: that is batch.py's work, in processes of kernels.py. A job survives JSON, so that it can be
handed to another process or another machine.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import papermill

from diffsasrec.config import config_hash, from_dict, unknown_name
from workbench.kernels import is_stamped
from workbench.parameters import listed, text, yaml_hint
from workbench.paths import repository_root

if TYPE_CHECKING:
    from workbench.runs import Run

TRAINING = "02_train"  # the notebook that makes a run
COMPARISON = "05_compare"  # the one that takes all runs of a data set
ABOUT_SLOTS = ("04_decode", "07_decoding_study")  # notebooks that want a model of masked slots
NOTEBOOK = "notebook.ipynb"  # its executed form, in the run
LOOSE = "_notebooks"  # below the runs folder: executed notebooks that belong to no run, and unfinished ones
_ON_A_RUN = {"03_evaluate": "topk"} | dict.fromkeys(
    ABOUT_SLOTS, "diffusion"
)  # -> how the newest one recommends
_BESIDE_PUBLISHED = ("06_published", "09_papers")  # notebooks that read the published tables
_OF_THEIR_OWN_RUNS = ("08_bridge", "09_papers", "10_does_diffusion_matter", "11_ablation", "12_collapse")
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
    # Here: a worker process, which imports this file, needs no torch.
    from workbench import comparison, experiments, provenance
    from workbench.datasets import open_dataset
    from workbench.recipes import recipe
    from workbench.runs import Run
    from workbench.warm_starts import pinned

    source = find_notebook(notebook)
    if "runs_dir" in parameters:
        raise ValueError(
            "runs_dir is no parameter of a batch: say with --runs FOLDER where its runs are kept"
        )
    checked = check_parameters(notebook, parameters)
    known = notebook_parameters(notebook)
    _check_decoding(checked)
    runs_dir = runs_dir.resolve()
    if "runs_dir" in known:
        checked["runs_dir"] = str(runs_dir)
    if checked.get("run") and checked["run"] not in {job.run for job in needs}:
        checked["run"] = Run.open(runs_dir, checked["run"]).id  # in full, and there
    if source.stem in _ON_A_RUN and not checked.get("run"):
        checked["run"] = comparison.choose_run(runs_dir, "", way=_ON_A_RUN[source.stem]).id
    values = _with_defaults(known, checked)
    if source.stem == COMPARISON:
        comparison.known_way(values["way"])
    if source.stem == COMPARISON and not needs:  # else what it compares is not there yet
        _compared_runs(runs_dir, values)
    values.pop("runs_dir", None)
    after = tuple(job.key for job in needs)
    if source.stem == TRAINING:
        values.pop("num_processes", None)  # by how many, not what
        config = pinned(recipe(**values), runs_dir)
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
    """Return whether the job was done before, by the same code with the same parameters on the same runs and files."""
    if job.notebook == TRAINING:
        from workbench.run_files import RunError
        from workbench.runs import Run

        try:
            return Run.open(job.runs_dir, str(job.run)).status == "done"
        except RunError:
            return False
    return job.output.is_file() and is_stamped(job.output, job.key, what_is_read(job))


def what_is_read(job: Job) -> str | None:
    """Return a digest of the runs and files that a notebook chooses itself; None where its parameters say it all.

    It changes when a run has come or was judged since. It is None, too, where there is nothing to choose from, which
    the notebook says better.
    """
    from workbench.run_files import METRICS, RunError
    from workbench.runs import Run, list_runs

    values = _with_defaults(notebook_parameters(str(job.source)), job.parameters)
    runs: list[Run] = []
    try:
        if job.notebook == COMPARISON:
            runs = _compared_runs(job.runs_dir, values)
        elif job.run is None and "runs_dir" in values and job.notebook not in _OF_THEIR_OWN_RUNS:
            runs = [run for run in list_runs(job.runs_dir) if isinstance(run, Run)]  # it may read any
    except RunError:
        return None
    files = _published_files(job.source.parent, values) if job.notebook in _BESIDE_PUBLISHED else []
    read = [[run.id, run.status, run.manifest, _hash_of(run.folder / METRICS)] for run in runs]
    read += [[str(path), _hash_of(path)] for path in files]
    return config_hash(read) if read else None


def _compared_runs(runs_dir: Path, values: Mapping[str, Any]) -> list[Run]:
    """Return the runs that the comparison chooses; raise ``RunError`` where there are none."""
    from workbench import comparison

    return comparison.choose_runs(runs_dir, text("runs", values["runs"]), dataset=values["dataset"])


def _published_files(folder: Path, values: Mapping[str, Any]) -> list[Path]:
    """Return the published tables and our own results that a notebook in a folder puts side by side."""
    results = repository_root() / "results"
    named = [folder / name for name in listed("tables", values.get("tables"), str, default=[])]
    tables = named or sorted((results / "published").glob("*.csv"))
    ours = sorted((folder / (values.get("results") or results)).glob("*.json")) if "results" in values else []
    return [*tables, *sorted({table.parent / "protocols.json" for table in tables}), *ours]


def _hash_of(path: Path) -> str:
    """Return the hash of a file's content; the empty text where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def _with_defaults(known: Mapping[str, Mapping[str, Any]], checked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every parameter of a notebook, whoever gave it."""
    return {name: ast.literal_eval(entry["default"]) for name, entry in known.items()} | dict(checked)


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
    hint = yaml_hint(value) if kind is float else ""
    raise ValueError(f"{name} of {notebook} must be {expected}, got {value!r}{hint}")
