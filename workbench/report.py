"""Runs as one HTML page that needs no network: figures with intervals, curves, provenance, a decode to step through.

Nothing of a user is in a page unless it was asked for by name: the traces that a run keeps are shown for the toy
world, whose users are drawn by a generator, and for no other data.
"""

from __future__ import annotations

import html
import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from diffsasrec.trace import DecodeTrace
from workbench.figure_style import NOT_UPLOADED
from workbench.open_runs import decode_user, open_run
from workbench.replay import replay_html
from workbench.run_figures import runs_scatter, training_curves
from workbench.run_settings import flattened
from workbench.runs import Run
from workbench.tables import (
    GROUPINGS,
    MAIN_FIGURES,
    for_people,
    group_table,
    of_one_kind,
    protocol_notes,
    results_table,
    runs_table,
)

_TEMPLATE = Path(__file__).parent / "assets" / "report.html"
_GENERATED = "toy"  # the data set whose users are nobody
_FIGURE_FONT = {"family": "system-ui, sans-serif", "color": "#1b1f24"}


def report_html(runs: Sequence[Run], *, user: str | None = None) -> str:
    """Return the page of one run, or of several side by side and then one after the other.

    Args:
        runs: what to show, in this order.
        user: the id of a user whose decode is shown for every run that has a reverse process, whoever it is.

    Raises:
        ValueError: no run, a run whose figures cannot be read, or an unknown user.
    """
    if not runs:
        raise ValueError("a report needs at least one run, got none")
    title = runs[0].id if len(runs) == 1 else f"{len(runs)} runs"
    parts = [] if len(runs) == 1 else [_overview(runs)]
    parts += [_one_run(run, user) for run in runs]
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=_text(title),
        subtitle=_text(", ".join(sorted({run.manifest["created"][:10] for run in runs}))),
        plotly=get_plotlyjs(),
        body="\n".join(parts),
    )


def _overview(runs: Sequence[Run]) -> str:
    """Return the table of all runs, one figure against the time they took, and all curves."""
    table = runs_table(runs)
    parts = ["<h2>Side by side</h2>", _figures(table)]
    parts += [f'<p class="quiet">{_text(note)}</p>' for note in protocol_notes(table)]
    if "NDCG@10" in table and table["NDCG@10"].notna().any():
        parts.append(_figure(runs_scatter(table, x="seconds", y="NDCG@10")))
    histories = {run.id: history for run in runs if len(history := run.history())}
    if histories:
        parts.append(_figure(training_curves(histories)))
    return "\n".join(parts)


def _one_run(run: Run, user: str | None) -> str:
    """Return the section of a run."""
    parts = [f"<h2>{_text(run.id)}</h2>", f"<p>{_text(_in_words(run))}</p>", "<h3>Figures</h3>"]
    results = results_table(run)
    if len(results):
        parts.append(_figures(results))
        parts.append('<p class="quiet">In brackets: 95 % bootstrap intervals over users.</p>')
        parts += _groups(run)
    else:
        parts.append(
            f"<p>Nothing was judged yet: <code>workbench evaluate {_text(run.id)}</code> does that.</p>"
        )
    history = run.history()
    if len(history):
        parts += ["<h3>Training</h3>", _figure(training_curves({run.id: history}))]
    parts += _decode(run, user)
    parts += [
        "<details><summary>Where it comes from</summary>",
        _settings(run.manifest),
        "</details>",
    ]
    return "\n".join(parts)


def _in_words(run: Run) -> str:
    """Return a sentence on what was trained, and how that ended."""
    manifest = run.manifest
    data, config = manifest["dataset"], manifest["config"]
    training = (manifest.get("training") or {}).get("message", "nothing to train")
    return (
        f"{config.get('model')} on {data['name']} (fingerprint {data['fingerprint']}), seed {manifest['seed']}, "
        f"status {run.status}: {training}."
    )


def _groups(run: Run) -> list[str]:
    """Return hits by length of history, and by whether the target is popular, on the test part's ranking."""
    ranked = of_one_kind(run.per_user())
    if not len(ranked) or any(by not in ranked or ranked[by].isna().any() for by in GROUPINGS):
        return []
    tables = [_table(for_people(group_table(ranked, by=by), ["HR@10"])) for by in GROUPINGS]
    return ["<h3>For whom it works: test part, top-K, seen items filtered</h3>", *tables]


def _decode(run: Run, user: str | None) -> list[str]:
    """Return the replay of a user's decode, where there is one that may be shown."""
    if user is not None:
        opened = open_run(run)
        if "diffusion" not in opened.checkpoint.model.ways:
            return []
        trace = decode_user(opened, user)
        return _replay(trace, opened.dataset.title)
    kept = run.traces() if run.manifest["dataset"]["name"] == _GENERATED else []
    return _replay(run.load_trace(kept[0]), run.dataset().title) if kept else []


def _replay(trace: DecodeTrace, titles: Any) -> list[str]:
    """Return a heading and the replay in a frame of its own, so that neither page styles the other."""
    heading = f"The reverse process of user {trace.about['user_ids'][0]}"
    page = replay_html(trace, titles, target=trace.about["targets"][0] or None, title=heading, dark=False)
    frame = f'<iframe title="{_text(heading)}" srcdoc="{_text(page)}"></iframe>'
    return ["<h3>A decode, step by step</h3>", frame]


def _figures(table: pd.DataFrame) -> str:
    """Return the figures that people look for first, and all of them folded away below."""
    every = [name for name in table if f"{name} low" in table and table[name].notna().any()]
    main = [name for name in MAIN_FIGURES if name in every]
    folded = f"<details><summary>All figures</summary>{_table(for_people(table, every))}</details>"
    return _table(for_people(table, main)) + (folded if set(every) > set(main) else "")


def _table(table: pd.DataFrame) -> str:
    shown = table.astype(object).where(table.notna(), "").to_html(index=False, border=0)
    return f'<div class="wide">{shown}</div>'


def _settings(manifest: Any) -> str:
    """Return everything the manifest says as a table of names and values."""
    rows = "".join(
        f'<tr><th>{_text(name)}</th><td class="long">{_text(_plain(value))}</td></tr>'
        for name, value in flattened(manifest).items()
    )
    return f"<table>{rows}</table>"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _figure(figure: go.Figure) -> str:
    figure = go.Figure(figure).update_layout(font=_FIGURE_FONT, template="plotly_white")
    return figure.to_html(
        full_html=False, include_plotlyjs=False, config={**NOT_UPLOADED, "responsive": True}
    )


def _text(words: object) -> str:
    """Return what comes from outside as text of the page."""
    return html.escape(str(words), quote=True).encode("utf-8", "replace").decode("utf-8")
