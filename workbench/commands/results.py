"""``workbench runs``, ``keep``, ``audit`` and ``report``: what runs have reached, listed, kept, checked, shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands import DONE, FAILED
from workbench.commands.messages import log_progress, say
from workbench.commands.options import RunsOption, check_place, run_named

if TYPE_CHECKING:
    from workbench.runs import BrokenRun, Run


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
        print_runs(whole)
    for run in found:
        if not isinstance(run, Run):
            print(f"{run.id}  broken: {run.reason}")
        elif (reason := _unreadable_figures(run)) is not None:
            print(f"{run.id}  {reason}")


def keep(
    runs_: Annotated[list[str], typer.Argument(metavar="RUN...", help="finished runs")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="where the files go")] = Path("results"),
    runs: RunsOption = None,
) -> None:
    """Keep the figures of finished runs as JSON files without per-user rows, and print their table."""
    from workbench.results import as_markdown, comparison, document, kept_at
    from workbench.results import keep as keep_run

    chosen: dict[Path, Run] = {}
    for each in runs_:
        run = run_named(each, runs)
        if (other := chosen.setdefault(kept_at(run, to), run)).id != run.id:
            raise ValueError(
                f"{other.id} and {run.id} have the same name in {to}: keep one of them in another folder"
            )
        document(run)  # raises where it cannot be kept, before any is written
    for run in chosen.values():
        say(f"wrote {keep_run(run, to)}")
    for dataset in sorted({run.manifest["dataset"]["name"] for run in chosen.values()}):
        print(as_markdown(comparison(to, dataset)))


def audit(
    table: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="rows of HR@K, NDCG@K, MRR@K and COV@K")],
    ranks_may_tie: Annotated[
        bool, typer.Option("--ties", help="ranks may be halves, as ours are where scores tie")
    ] = False,
) -> int:
    """Name the rows of a table, ours or published, that cannot be true; exit status 1 if there is any."""
    from workbench.audit import read_figures, unread_columns, verdicts

    found = verdicts(read_figures(table), ranks_may_tie=ranks_may_tie)
    if unread := unread_columns(table):
        say(
            f"not checked: {', '.join(unread)}: bounds are known of HR@K, NDCG@K, MRR@K and COV@K by these names"
        )
    broken = {name: why for name, why in found.items() if why}
    for name, why in broken.items():
        print(f"{name}: {why}")
    if not broken:
        print(f"every row of {table.name} can be true ({len(found)} read)")
        return DONE
    say(f"{len(broken)} of the {len(found)} rows of {table.name} cannot be true")
    return FAILED


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
    log_progress()
    from workbench.paths import runs_dir
    from workbench.report import report_html

    chosen = [run_named(each, runs) for each in dict.fromkeys(runs_)]
    file = to or (chosen[0].folder if len(chosen) == 1 else runs_dir(runs)) / "report.html"
    check_place(file)
    file.write_text(report_html(chosen, user=user), encoding="utf-8")
    print(file)


def print_runs(runs: list[Run]) -> None:
    """Print a line per run: its state, how long it took, and what it reached on the test part."""
    from workbench.tables import for_people, longest_figures, runs_table

    found = runs_table(runs)
    figures = longest_figures(found, ["HR", "NDCG"])
    table = for_people(found, figures)
    settings = ["settings"] if found["settings"].any() else []
    columns = [name for name in ("name", *settings, "status", "seconds", *figures) if name in table]
    shown = table[columns].rename(columns={name: f"test {name}" for name in figures})
    print(shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.0f}"))


def _as_json(run: Run | BrokenRun) -> dict[str, Any]:
    from workbench.run_files import RunError
    from workbench.runs import Run

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
    from workbench.run_files import RunError

    try:
        run.metrics()
    except RunError as error:
        return str(error)
    return None
