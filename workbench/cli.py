"""The ``workbench`` command: prepare, train, evaluate, decode, rules, runs, keep, audit, demo.

Exit status 0: done. 1: the work failed, or a row of an audited table is impossible. 2: bad input, told in one
sentence on stderr. What packages say goes to stderr; what a script may want to read (ids, tables, JSON) goes to
stdout. Whatever is slow to import is imported by the command that needs it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.settings import read_settings, read_value

if TYPE_CHECKING:
    from diffsasrec.trace import DecodeTrace
    from workbench.batch import Event, Limits
    from workbench.datasets import Dataset
    from workbench.grid import Grid
    from workbench.jobs import Job
    from workbench.runs import BrokenRun, Run

DONE, FAILED, BAD_INPUT = 0, 1, 2
_DEMO_MINUTES = 15.0  # of training for each model, on any data but the toy world
_SECONDS_BETWEEN_LINES = 3.0
_TYPER_INTERRUPTED = 130  # what typer makes of Ctrl-C
_INTERRUPTED = "interrupted; the same command goes on from here"
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    help="Train, judge and step through sequential recommenders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunsOption = Annotated[
    Path | None, typer.Option("--runs", metavar="DIR", help="the folder of runs; runs/ by default")
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="<recipe>/<key>, or the first letters of a key")
]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="may be repeated")]
PinOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SLOT=ITEM",
        help="put an item (its id, or the beginning of its title) into a slot, counted from 1; may be repeated",
    ),
]
ForbidOption = Annotated[
    list[str] | None,
    typer.Option(metavar="ITEM", help="an item that may not be recommended; may be repeated"),
]
EditOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="EDIT",
        help="of the history first: 'remove 1', 'replace 2=ITEM', 'insert 1=ITEM', 'move 4=1'; place 1 is the "
        "latest item; may be repeated",
    ),
]
BranchOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="BRANCH",
        help="on the way: 'STEP: pin SLOT=ITEM' or 'STEP: forbid ITEM' holds from that step on; may be repeated, "
        "each a branch of the one before it",
    ),
]


def main() -> None:
    """Run the command line and leave with its exit status."""
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # threads that spin starve each other on a busy machine
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to stop: the same as Ctrl-C
    sys.exit(_status())


def _status() -> int:
    """Return the exit status of the command line; errors become one sentence."""
    try:
        status = app(standalone_mode=False) or DONE
        return _complain(_INTERRUPTED, FAILED) if status == _TYPER_INTERRUPTED else status
    except _UsageError as error:
        return _complain(error.format_message(), BAD_INPUT)  # type: ignore[attr-defined]
    except typer.Abort:
        return _complain("stopped", FAILED)
    except KeyboardInterrupt:
        return _complain(_INTERRUPTED, FAILED)
    except BrokenPipeError:  # the reader of stdout has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        return _complain(str(error), BAD_INPUT)
    except (OSError, RuntimeError) as error:
        return _complain(str(error), FAILED)


@app.command()
def prepare(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="a known name, or one for your own files")
    ],
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="PATH", help="raw files that are there already")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORM", help="of your own files, where they do not tell")
    ] = None,
    user_col: Annotated[str | None, typer.Option(help="the column of users, in your own file")] = None,
    item_col: Annotated[str | None, typer.Option(help="the column of items")] = None,
    time_col: Annotated[str | None, typer.Option(help="the column of timestamps")] = None,
    rating_col: Annotated[str | None, typer.Option(help="the column of ratings, where there is one")] = None,
    title_col: Annotated[str | None, typer.Option(help="the column of titles of items")] = None,
    category_col: Annotated[str | None, typer.Option(help="the column of categories, joined by |")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", hidden=True)] = None,
) -> None:
    """Bring a data set into the form that training reads, once.

    The form of your own files is found out, or said with --format: movielens-csv, movielens-dat, movielens-100k,
    amazon-ratings, amazon-reviews, amazon-parquet, amazon-2023-reviews, amazon-2023-ratings, amazon-2023-split,
    netflix, recbole, text-list, given-split; or a CSV, TSV or Parquet file with named columns. docs/data.md says
    which files each of them is, and names the data sets that are known.
    """
    if runs is not None:
        _say("note: --runs has no effect on prepare: DIFFSASREC_CACHE says where prepared data goes")
    _log_progress()
    from workbench import datasets

    columns = {
        "user_col": user_col,
        "item_col": item_col,
        "time_col": time_col,
        "rating_col": rating_col,
        "title_col": title_col,
        "category_col": category_col,
    }
    prepared = datasets.prepare(dataset, from_dir=from_, form=format_, **columns)
    _describe(prepared)
    for remark in (*prepared.facts["differences"], *prepared.facts.get("notes", [])):
        _say(f"note: {remark}")


@app.command()
def train(
    dataset: Annotated[str, typer.Option(help="a prepared data set, or one that can be")],
    model: Annotated[
        str,
        typer.Option(
            help="random, popularity, markov, gru4rec, sasrec, diffsasrec, block_diffusion, diffurec, "
            "diffurecsys_v1, diffurecsys_v2, adrec"
        ),
    ],
    seed: Annotated[int | None, typer.Option(help="of weights, order and masks")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="of training")] = None,
    set_: SetOption = None,
    force: Annotated[bool, typer.Option("--force", help="begin anew even if the run is finished")] = False,
    resume_stale: Annotated[
        bool, typer.Option("--resume-stale", help="go on with an unfinished run of other code")
    ] = False,
    runs: RunsOption = None,
) -> int:
    """Train a model, or return the run that did, and print its id.

    Several processes train together under torchrun: torchrun --nproc-per-node=2 -m workbench.cli train ...
    """
    _log_progress()
    from workbench.experiments import run_in_ranks
    from workbench.recipes import recipe

    settings = read_settings(set_ or [])
    for name, value in (("seed", seed), ("max_minutes", max_minutes)):
        if value is not None and settings.setdefault(name, value) != value:
            raise ValueError(
                f"{name} is given twice: --{name.replace('_', '-')} {value}, --set {name}={settings[name]}"
            )
    config = recipe(dataset, model, **settings)
    run = run_in_ranks(config, runs_dir=runs, force=force, resume_stale=resume_stale)
    if run is None:  # the first of several processes speaks for all
        return DONE
    print(run.id)
    message = (run.manifest.get("training") or {}).get("message", "nothing to train: counted")
    if run.status != "done":
        return _complain(f"{message}; the same command goes on from here", FAILED)
    _say(message)
    return DONE


@app.command()
def evaluate(run: RunArgument, set_: SetOption = None, runs: RunsOption = None) -> None:
    """Judge a run on the test part in every way it can recommend; --set changes how slots are decoded."""
    _log_progress()
    from workbench.experiments import evaluate_run
    from workbench.open_runs import open_run
    from workbench.tables import for_people, protocol_notes, results_table

    opened = open_run(_open(run, runs))
    config = _decode_config(opened, set_) if set_ else None
    evaluate_run(opened, decode_config=config)
    figures = ["HR@10", "NDCG@10", "Coverage@10"]
    table = results_table(opened.run)
    print(for_people(table, figures).to_string(index=False))
    for note in protocol_notes(table):
        print(note)


@app.command()
def decode(
    run: RunArgument,
    user: Annotated[str, typer.Option(metavar="ID", help="the user's id in the data")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KNOB=VALUE", help="may be repeated; `workbench rules` lists rules and knobs"
        ),
    ] = None,
    pin: PinOption = None,
    forbid: ForbidOption = None,
    edit: EditOption = None,
    branch: BranchOption = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="a replay to open in a browser")] = None,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="KNOB=VALUE,...", help="play a second decode beside it, with these knobs changed"
        ),
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="the trace as JSON")] = None,
    runs: RunsOption = None,
) -> None:
    """Fill K slots behind a user's history, or sample the next item's embedding, and tell it step by step.

    --set rule=NAME chooses how slots are filled, and --set KNOB=VALUE how that rule does it: `workbench rules`.
    """
    _log_progress()
    from diffsasrec.files import write_text
    from workbench.constraints import read_pins, split_texts
    from workbench.open_runs import decode_user, open_run
    from workbench.replay import decoding_in_words
    from workbench.tables import trace_document

    for path in filter(None, (html, json_)):
        _check_place(path)
    if beside and html is None:
        raise ValueError("--beside plays a second decode in the replay: give --html FILE as well")
    laid_down = {
        "pinned": read_pins(pin or []),
        "forbidden_too": forbid or [],
        "edits": edit or [],
        "branches": branch or [],
    }
    opened = open_run(_open(run, runs))
    trace = decode_user(opened, user, _decode_config(opened, set_), **laid_down)
    target = trace.about["targets"][0] or None
    titles, vocabulary = opened.dataset.title, opened.dataset.interactions.vocabulary
    document = trace_document(trace, titles, lambda token: vocabulary.decode(token).item(), target=target)
    heading = f"User {user}: {decoding_in_words(trace)}"
    _tell_decode(trace, heading, document, titles)
    if html is not None:
        others = {}
        if beside:
            config = _decode_config(opened, [*(set_ or []), *split_texts(beside)])
            others[beside] = decode_user(opened, user, config, **laid_down)
        write_text(html, _replay(trace, heading, titles, beside=others))
        _say(f"wrote {html}")
    if json_ is not None:
        write_text(json_, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        _say(f"wrote {json_}")


def _tell_decode(
    trace: DecodeTrace, heading: str, document: dict[str, Any], titles: Callable[[int], str]
) -> None:
    """Print a decode step by step, its list, and what became of the held-out item."""
    from workbench.replay import truth_in_words
    from workbench.tables import step_in_words

    print(heading)
    for slot in trace.about["pinned"]:
        print(f"Pinned: slot {slot} holds “{titles(int(trace.steps[0].tokens[0, int(slot) - 1]))}”.")
    for edit in trace.about.get("edits", []):
        print(f"The history was edited: {edit}.")
    for left in trace.about.get("branches", []):
        print(f"Branch of {left['parent']} after step {left['change']}")
    for step in range(trace.num_steps):
        print(step_in_words(trace, step, titles))
    for entry in document["recommendations"]:
        mark = "  <- the held-out item" if entry["is_target"] else ""
        share = "pinned" if entry["is_pinned"] else f"{entry['confidence']:.1%}"
        print(f"{entry['rank']:>3}  {share:>6}  {entry['title']}{mark}")
    target = trace.about["targets"][0]
    print(truth_in_words(trace, target, titles) if target else "Nothing was held out for this user.")


def _replay(
    trace: DecodeTrace, heading: str, titles: Callable[[int], str], *, beside: dict[str, DecodeTrace]
) -> str:
    """Return the page that plays a decode, and the difference to one beside it in words."""
    from workbench.differences import difference_in_words
    from workbench.replay import replay_html

    words = " ".join(difference_in_words(trace, other, titles) for other in beside.values())
    target = trace.about["targets"][0] or None
    return replay_html(trace, titles, target=target, title=heading, beside=beside, words=words)


@app.command()
def rules(runs: Annotated[Path | None, typer.Option("--runs", hidden=True)] = None) -> None:
    """List the rules by which slots are filled, each with its source and its knobs, and what every knob does."""
    if runs is not None:
        _say("note: --runs has no effect on rules: they are the same for every run")
    from workbench.knob_table import rules_in_words

    print(rules_in_words())


@app.command()
def runs(
    json_: Annotated[bool, typer.Option("--json", help="everything, for a script")] = False,
    runs: RunsOption = None,
) -> None:
    """List the runs, the newest first, broken ones with the reason."""
    from workbench.paths import runs_dir
    from workbench.runs import Run, list_runs

    folder = runs_dir(runs)
    found = list_runs(folder)
    if json_:
        print(json.dumps([_as_json(run) for run in found], indent=1))
        return
    whole = [run for run in found if isinstance(run, Run)]
    if not found:
        print(f"no runs in {folder}: make one with `workbench train`")
    if whole:
        _print_runs(whole)
    for run in found:
        if not isinstance(run, Run):
            print(f"{run.id}  broken: {run.reason}")
        elif (reason := _unreadable_figures(run)) is not None:
            print(f"{run.id}  {reason}")


@app.command()
def keep(
    runs_: Annotated[list[str], typer.Argument(metavar="RUN...", help="finished runs")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="where the files go")] = Path("results"),
    runs: RunsOption = None,
) -> None:
    """Keep the figures of finished runs as JSON files without per-user rows, and print their table."""
    from workbench.results import as_markdown, comparison
    from workbench.results import keep as keep_run

    datasets = set()
    for each in runs_:
        run = _open(each, runs)
        _say(f"wrote {keep_run(run, to)}")
        datasets.add(run.manifest["dataset"]["name"])
    for dataset in sorted(datasets):
        print(as_markdown(comparison(to, dataset)))


@app.command()
def audit(
    table: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="rows of HR@K, NDCG@K, MRR@K and COV@K")],
    ranks_may_tie: Annotated[
        bool, typer.Option("--ties", help="ranks may be halves, as ours are where scores tie")
    ] = False,
) -> int:
    """Name the rows of a table, ours or published, that cannot be true; exit status 1 if there is any."""
    from workbench.audit import read_figures, verdicts

    found = verdicts(read_figures(table), ranks_may_tie=ranks_may_tie)
    broken = {name: why for name, why in found.items() if why}
    for name, why in broken.items():
        print(f"{name}: {why}")
    if not broken:
        print(f"every row of {table.name} can be true ({len(found)} read)")
        return DONE
    _say(f"{len(broken)} of the {len(found)} rows of {table.name} cannot be true")
    return FAILED


@app.command()
def report(
    runs_: Annotated[list[str], typer.Argument(metavar="RUN...", help="what the page shows")],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="default: report.html in the run or in runs/")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(metavar="ID", help="step through this user, whose history is then in the page"),
    ] = None,
    runs: RunsOption = None,
) -> None:
    """Write runs as one HTML page that needs no network."""
    _log_progress()
    from workbench.paths import runs_dir
    from workbench.report import report_html

    chosen = [_open(each, runs) for each in dict.fromkeys(runs_)]
    file = to or (chosen[0].folder if len(chosen) == 1 else runs_dir(runs)) / "report.html"
    _check_place(file)
    file.write_text(report_html(chosen, user=user), encoding="utf-8")
    print(file)


@app.command()
def demo(
    dataset: Annotated[str, typer.Option(help="toy, or a data set to prepare")] = "toy",
    workers: Annotated[int, typer.Option(help="notebooks at a time")] = 2,
    force: Annotated[bool, typer.Option("--force", help="repeat what is finished")] = False,
    runs: RunsOption = None,
) -> int:
    """Run the notebooks from the data to the decode: train SASRec and DiffSASRec, judge both, step through one user."""
    _log_progress()
    from workbench import datasets
    from workbench.paths import runs_dir

    try:
        _describe(datasets.open_dataset(dataset))
    except FileNotFoundError:
        _say(f"preparing {dataset}")
        _describe(datasets.prepare(dataset))
    minutes = {} if dataset == "toy" else {"max_minutes": _DEMO_MINUTES}
    jobs = _demo_jobs(dataset, minutes, runs_dir(runs))
    return _execute(jobs, workers=workers, force=force)


@app.command()
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
    _log_progress()
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
    _say(
        f"{len(jobs)} notebooks{', at most ' + ' and '.join(told) if told else ''}; nothing was done: --dry-run"
    )


def _execute(jobs: list[Job], *, workers: int, force: bool, **options: Any) -> int:
    """Run jobs, tell how it goes, print what came of it, and return the exit status."""
    from workbench.batch import run_jobs
    from workbench.runs import Run, RunError

    printer = _Printer()
    outcomes = run_jobs(jobs, workers=workers, force=force, on_event=printer, **options)
    made = []
    for run in dict.fromkeys(outcome.job.run for outcome in outcomes if outcome.job.run is not None):
        with contextlib.suppress(RunError):  # a training that failed before it had a run
            made.append(Run.open(outcomes[0].job.runs_dir, run))
    if made:
        _print_runs(made)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        where = f" ({outcome.output})" if outcome.output is not None else ""
        _say(f"failed: {outcome.job.name}{where}: {outcome.message}")
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in ("done", "skipped")}
    _say(
        f"{counts['done']} notebooks done, {counts['skipped']} skipped as finished, {len(failed)} failed, "
        f"in {time.monotonic() - printer.started:.0f} s; runs are in {jobs[0].runs_dir}"
    )
    return FAILED if failed else DONE


def _print_runs(runs: list[Run]) -> None:
    """Print a line per run: its state, how long it took, and what it reached on the test part."""
    from workbench.tables import for_people, runs_table

    figures = ["HR@10", "NDCG@10"]
    table = for_people(runs_table(runs), figures)
    columns = [name for name in ("name", "status", "seconds", *figures) if name in table]
    shown = table[columns].rename(columns={name: f"test {name}" for name in figures})
    print(shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.0f}"))


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
        _say(f"{now - self.started:4.0f} s [{event.num_finished}/{event.num_jobs}] {event.job.name}: {words}")


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


def _check_place(file: Path) -> None:
    """Raise when a file could not be written for want of a folder."""
    if not file.resolve().parent.is_dir():
        raise FileNotFoundError(f"{file} cannot be written: there is no folder {file.resolve().parent}")


def _open(run: str, folder: Path | None) -> Run:
    from workbench.paths import runs_dir
    from workbench.runs import Run

    return Run.open(runs_dir(folder), run)


def _decode_config(opened: Any, set_: list[str] | None) -> Any:
    from workbench.open_runs import default_decode_config

    return default_decode_config(opened.checkpoint.model, **read_settings(set_ or []))


def _describe(dataset: Dataset) -> None:
    data = dataset.interactions
    print(
        f"{dataset.name}: {data.num_users:,} users, {data.num_items:,} items, "
        f"{data.num_interactions:,} interactions, fingerprint {dataset.fingerprint}"
    )


def _as_json(run: Run | BrokenRun) -> dict[str, Any]:
    from workbench.runs import Run, RunError

    if not isinstance(run, Run):
        return {"id": run.id, "status": "broken", "reason": run.reason}
    try:
        metrics = run.metrics()
    except RunError as error:
        metrics = {"reason": str(error)}
    about = {"id": run.id, "folder": str(run.folder), "status": run.status, "stale": run.stale}
    return {**about, "manifest": run.manifest, "metrics": metrics}


def _unreadable_figures(run: Run) -> str | None:
    """Return why a run's figures cannot be read; None where they can."""
    from workbench.runs import RunError

    try:
        run.metrics()
    except RunError as error:
        return str(error)
    return None


def _log_progress() -> None:
    """Let the packages say how work goes on, unless a bar does."""
    level = logging.WARNING if sys.stderr.isatty() else logging.INFO
    for package in ("diffsasrec", "workbench"):
        logging.getLogger(package).setLevel(level)


def _say(words: str) -> None:
    """Print a line for people, after all that was printed before it: the two streams may end in one file."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    print(words, file=sys.stderr, flush=True)


def _complain(words: str, status: int) -> int:
    _say("workbench: " + " ".join(words.split()))
    return status


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"note: {message}")


if __name__ == "__main__":
    main()
