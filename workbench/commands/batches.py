"""``workbench demo`` and ``workbench batch``: notebooks side by side."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands import DONE, FAILED
from workbench.commands.data import describe
from workbench.commands.messages import log_progress, say
from workbench.commands.options import RunsOption
from workbench.commands.results import print_runs
from workbench.settings import read_settings, read_value

if TYPE_CHECKING:
    from workbench.batch import Event, Limits
    from workbench.grid import Grid
    from workbench.jobs import Job

_DEMO_MINUTES = 15.0  # of training for each model, on any data but the toy world
_SECONDS_BETWEEN_LINES = 3.0


def demo(
    dataset: Annotated[str, typer.Option(help="toy, or a data set to prepare")] = "toy",
    workers: Annotated[int, typer.Option(help="notebooks at a time")] = 2,
    force: Annotated[bool, typer.Option("--force", help="repeat what is finished")] = False,
    runs: RunsOption = None,
) -> int:
    """Run the notebooks from the data to the decode: train SASRec and DiffSASRec, judge both, step through one user."""
    log_progress()
    from workbench import datasets
    from workbench.paths import runs_dir

    try:
        describe(datasets.open_dataset(dataset))
    except FileNotFoundError:
        say(f"preparing {dataset}")
        describe(datasets.prepare(dataset))
    minutes = {} if dataset == "toy" else {"max_minutes": _DEMO_MINUTES}
    jobs = _demo_jobs(dataset, minutes, runs_dir(runs))
    return _execute(jobs, workers=workers, force=force)


def _demo_jobs(dataset: str, minutes: dict[str, float], folder: Path) -> list[Job]:
    """Return the notebooks of the demo, training first: it takes the longest."""
    from workbench.jobs import plan

    trained = {
        model: plan("02_train", {"dataset": dataset, "model": model, **minutes}, runs_dir=folder)
        for model in ("diffsasrec", "sasrec")
    }
    data = plan("01_data", {"dataset": dataset}, runs_dir=folder)
    judged = [plan("03_evaluate", {"run": job.run}, runs_dir=folder, needs=[job]) for job in trained.values()]
    needed = trained["diffsasrec"]
    decoded = plan("04_decode", {"run": needed.run}, runs_dir=folder, needs=[needed])
    return [*trained.values(), data, *judged, decoded]


def batch(
    what: Annotated[
        list[str], typer.Argument(metavar="GRID|NOTEBOOK...", help="a grid in YAML, or names of notebooks")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=A,B,..", help="a parameter's values, or a range: seed=0..4"),
    ] = None,
    workers: Annotated[int, typer.Option(help="notebooks at a time")] = 2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be done, and do nothing")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="repeat what is finished")] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="a Dask scheduler whose workers see the same folders"),
    ] = None,
    cell_timeout: Annotated[
        float | None, typer.Option(metavar="S", help="seconds that a cell may take")
    ] = None,
    run_timeout: Annotated[
        float | None, typer.Option(metavar="S", help="seconds that a notebook may take")
    ] = None,
    runs: RunsOption = None,
) -> int:
    """Run every combination of notebooks and parameters, side by side; what is finished is skipped."""
    log_progress()
    from workbench.batch import Limits
    from workbench.grid import expand
    from workbench.paths import runs_dir

    grid = _grid(what, set_)
    limits = Limits(
        cell=grid.limits.cell if cell_timeout is None else cell_timeout,
        run=grid.limits.run if run_timeout is None else run_timeout,
    )
    if workers < 1:
        raise ValueError(f"--workers must be at least 1, got {workers}")
    jobs = expand(grid, runs_dir=runs_dir(runs))
    if dry_run:
        _describe_jobs(jobs, limits, force=force)
        return DONE
    return _execute(jobs, workers=workers, force=force, limits=limits, scheduler=scheduler)


def _grid(what: list[str], set_: list[str] | None) -> Grid:
    """Return the grid of a file, or of notebooks and their parameters."""
    from workbench.grid import as_grid, read_grid

    files = [each for each in what if each.endswith((".yaml", ".yml"))]
    if not files:
        values = {name: _list_or_range(value) for name, value in read_settings(set_ or [], read=str).items()}
        return as_grid({"notebooks": what, "parameters": values}, source="--set")
    if len(what) > 1:
        raise ValueError(f"give one grid, or names of notebooks, got {', '.join(what)}")
    if set_:
        raise ValueError(f"--set goes with names of notebooks: {files[0]} has its own parameters")
    return read_grid(Path(files[0]))


def _list_or_range(text: str) -> list[Any] | dict[str, Any]:
    """Return the values of ``a,b,c`` or of ``0..4``."""
    low, dots, high = text.partition("..")
    if dots and isinstance(read_value(low), int) and isinstance(read_value(high), int):
        return {"from": read_value(low), "to": read_value(high)}
    return [read_value(each) for each in text.split(",")]


def _describe_jobs(jobs: list[Job], limits: Limits, *, force: bool) -> None:
    """Print what a batch would do, a job a line."""
    from workbench.jobs import state_of

    for job in jobs:
        state = state_of(job)
        words = "again" if force and state == "finished" else state
        settings = " ".join(f"{name}={value}" for name, value in job.parameters.items() if name != "runs_dir")
        print(f"{words:<8}  {job.notebook}  {settings}\n{'':8}  -> {job.output}")
    told = [
        f"{value:g} s for a {name}" for name, value in (("cell", limits.cell), ("run", limits.run)) if value
    ]
    say(
        f"{len(jobs)} notebooks{', at most ' + ' and '.join(told) if told else ''}; nothing was done: --dry-run"
    )


def _execute(jobs: list[Job], *, workers: int, force: bool, **options: Any) -> int:
    """Run jobs, tell how it goes, print what came of it, and return the exit status."""
    from workbench.batch import run_jobs
    from workbench.run_files import RunError
    from workbench.runs import Run

    printer = _Printer()
    outcomes = run_jobs(jobs, workers=workers, force=force, on_event=printer, **options)
    made = []
    for run in dict.fromkeys(outcome.job.run for outcome in outcomes if outcome.job.run is not None):
        with contextlib.suppress(RunError):  # a training that failed before it had a run
            made.append(Run.open(outcomes[0].job.runs_dir, run))
    if made:
        print_runs(made)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        where = f" ({outcome.output})" if outcome.output is not None else ""
        say(f"failed: {outcome.job.name}{where}: {outcome.message}")
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in ("done", "skipped")}
    say(
        f"{counts['done']} notebooks done, {counts['skipped']} skipped as finished, {len(failed)} failed, "
        f"in {time.monotonic() - printer.started:.0f} s; runs are in {jobs[0].runs_dir}"
    )
    return FAILED if failed else DONE


class _Printer:
    """Print what a batch does: every cell that begins, and now and then what the cell says."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.said: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if event.kind == "line":
            if now - self.said.get(event.job.key, -math.inf) < _SECONDS_BETWEEN_LINES:
                return
            self.said[event.job.key] = now
        words = event.text if event.kind in ("cell", "line") else f"{event.kind} {event.text}".strip()
        say(f"{now - self.started:4.0f} s [{event.num_finished}/{event.num_jobs}] {event.job.name}: {words}")
