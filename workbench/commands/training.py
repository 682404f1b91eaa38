"""``workbench train`` and ``workbench evaluate``: a run that is made, and judged."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.commands import DONE, FAILED
from workbench.commands.messages import complain, log_progress, say
from workbench.commands.options import RunArgument, RunsOption, SetOption, run_named
from workbench.settings import read_settings


def train(
    dataset: Annotated[str, typer.Option(help="a prepared data set, or one that can be")],
    model: Annotated[
        str,
        typer.Option(
            help="random, popularity, markov, transitions, ease, gru4rec, sasrec, diffsasrec, bert4rec, "
            "block_diffusion, diffurec, diffurecsys_v1, diffurecsys_v2, adrec"
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
    log_progress()
    from workbench.experiments import run_in_ranks
    from workbench.recipes import recipe

    settings = read_settings(set_ or [])
    for name, value in (("seed", seed), ("max_minutes", max_minutes)):
        if value is not None:
            given = f"--{name.replace('_', '-')} {value}"
            if name in settings and settings[name] != value:
                raise ValueError(f"{name} is given twice: {given}, --set {name}={settings[name]}")
            settings[name] = value
    if taken := {"dataset", "model", "unset"} & set(settings):
        raise ValueError(
            f"--set has no {', '.join(sorted(taken))}: --dataset and --model are options of their own"
        )
    unset = [name for name, value in settings.items() if value is None]
    config = recipe(dataset, model, unset=unset, **settings)
    run = run_in_ranks(config, runs_dir=runs, force=force, resume_stale=resume_stale)
    if run is None:  # the first of several processes speaks for all
        return DONE
    print(run.id)
    message = (run.manifest.get("training") or {}).get("message", "nothing to train: counted")
    if run.status != "done":
        return complain(f"{message}; the same command goes on after the last whole epoch", FAILED)
    say(message)
    return DONE


def evaluate(run: RunArgument, set_: SetOption = None, runs: RunsOption = None) -> None:
    """Judge a run on the test part in every way it can recommend; --set changes how slots are decoded."""
    log_progress()
    from workbench.experiments import evaluate_run, judged_decoding
    from workbench.open_runs import open_run
    from workbench.tables import for_people, longest_figures, protocol_notes, results_table

    opened = open_run(run_named(run, runs))
    config = judged_decoding(opened, **read_settings(set_)) if set_ else None
    evaluate_run(opened, decode_config=config)
    table = results_table(opened.run)
    figures = longest_figures(table, ["HR", "NDCG", "Coverage"])
    print(for_people(table, figures).to_string(index=False))
    for note in protocol_notes(table):
        print(note)
