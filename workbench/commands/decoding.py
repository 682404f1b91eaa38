"""``workbench decode`` and ``workbench rules``: one user's list step by step, and the ways to fill its slots."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.messages import log_progress, say
from workbench.commands.options import RunArgument, RunsOption, check_place, decode_config, run_named

if TYPE_CHECKING:
    from diffsasrec.trace import DecodeTrace

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
    log_progress()
    from diffsasrec.files import write_text
    from workbench.constraints import read_pins, split_texts
    from workbench.open_runs import decode_user, open_run
    from workbench.replay import decoding_in_words
    from workbench.tables import trace_document

    for path in filter(None, (html, json_)):
        check_place(path)
    if beside and html is None:
        raise ValueError("--beside plays a second decode in the replay: give --html FILE as well")
    laid_down = {
        "pinned": read_pins(pin or []),
        "forbidden_too": forbid or [],
        "edits": edit or [],
        "branches": branch or [],
    }
    opened = open_run(run_named(run, runs))
    trace = decode_user(opened, user, decode_config(opened, set_), **laid_down)
    others = {}
    if beside:
        try:
            config = decode_config(opened, set_, split_texts(beside))
            others[beside] = decode_user(opened, user, config, **laid_down)
        except ValueError as error:
            raise ValueError(f"--beside {beside}: {error}") from error
    target = trace.about["targets"][0] or None
    titles, vocabulary = opened.dataset.title, opened.dataset.interactions.vocabulary
    document = trace_document(trace, titles, lambda token: vocabulary.decode(token).item(), target=target)
    heading = f"User {user}: {decoding_in_words(trace)}"
    _tell_decode(trace, heading, document, titles)
    if html is not None:
        write_text(html, _replay(trace, heading, titles, beside=others))
        say(f"wrote {html}")
    if json_ is not None:
        write_text(json_, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        say(f"wrote {json_}")


def _tell_decode(
    trace: DecodeTrace, heading: str, document: dict[str, Any], titles: Callable[[int], str]
) -> None:
    """Print a decode step by step, its list, and what became of the held-out item."""
    from workbench.figure_style import percent
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
        share = "pinned" if entry["is_pinned"] else percent(entry["confidence"])
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


def rules(runs: Annotated[Path | None, typer.Option("--runs", hidden=True)] = None) -> None:
    """List the rules by which slots are filled, each with its source and its knobs, and what every knob does."""
    if runs is not None:
        say("note: --runs has no effect on rules: they are the same for every run")
    from workbench.knob_table import rules_in_words

    print(rules_in_words())
