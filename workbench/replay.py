"""A decode trace told to people: one self-contained HTML page that plays it, and the fate of the truth in words.

The page needs no network and no library; its parts lie in ``assets``. What comes from outside (titles above all)
enters it as JSON that the page's script shows as text, or escaped. Every function takes one user's trace
(``trace.user(index)``) and ``titles``, a function from token to title; people read steps and slots from 1.
"""

from __future__ import annotations

import html
import json
import string
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.sampling import SampleConfig
from diffsasrec.trace import NOBODY, PINNED, SLOT_STATES, TAKING_STATES, DecodeTrace
from diffsasrec.trace_comparison import parting
from workbench.figure_style import percent
from workbench.slot_states import NOISE, SAMPLE_STATES, STATE_GLYPHS, STATE_MEANINGS

TitleOf = Callable[[int], str]

TARGET_MEANING = "the held-out item"
_MAX_TITLE = 160  # characters of a title in the page
_MAX_CELLS = 30_000  # candidates in the page, all steps and slots together: keeps it below a megabyte
_MAX_HISTORY = 60
_MAX_VALUE = 2000  # characters of what a trace says of itself
_TOLD_ELSEWHERE = ("rule", "seed", "num_slots", "num_steps", "num_candidates")
_POINTING = "; point at a slot, or move to it with <kbd>Tab</kbd>, for its candidates"


def replay_html(
    trace: DecodeTrace,
    titles: TitleOf,
    *,
    target: int | None = None,
    title: str = "",
    history_details: Sequence[str] | None = None,
    is_part_of_a_page: bool = False,
    dark: bool | None = None,
    beside: Mapping[str, DecodeTrace] | None = None,
    words: str = "",
) -> str:
    """Return one HTML page, below a megabyte and without network, that plays a trace step by step.

    Args:
        trace: one user's trace.
        titles: token -> title.
        target: token of the held-out item, marked wherever it stands.
        title: the page's heading.
        history_details: a line per real item of the history, oldest first (a date, say).
        is_part_of_a_page: leave out heading, history and story, which stand around it already.
        dark: the theme; None follows the reader's system.
        beside: other decodes of the same user, played beside this one, by the words that say how they were made;
            slots that differ from this one's are marked.
        words: what else is to be said, above the steps.
    """
    traces = [trace, *(beside or {}).values()]
    how = [_how(trace), *(beside or {})] if beside else [""]
    data = _page_data(traces, how, titles, target=target, history_details=history_details)
    story = f'<p class="story">{html.escape(words)}</p>' if words else ""
    if target is not None:
        for name, each in zip(_names(traces), traces, strict=True):
            said = (
                f"{name}: {truth_in_words(each, target, titles)}"
                if name
                else truth_in_words(each, target, titles)
            )
            story += f'<p class="story"><span class="star">★</span> {html.escape(said)}</p>'
    heading = html.escape(_shorten(title or "How the list came about"))
    page = string.Template(_asset("replay.html")).substitute(
        title=heading,
        subtitle="".join(
            f"<p>{html.escape(f'{name}: ' * bool(name) + made_in_words(each))}</p>"
            for name, each in zip(_names(traces), traces, strict=True)
        ),
        style=_asset("board.css") + _asset("replay.css"),
        story=story,
        legend=legend_items() if trace.kind == "masked" else "",
        pointing=_POINTING if trace.kind == "masked" else "",
        list_title="The lists as tables" if beside else "The list as a table",
        table="".join(
            f"{f'<h2>{name}</h2>' if name else ''}{_list_table(each, titles, target=target)}"
            for name, each in zip(_names(traces), traces, strict=True)
        ),
        made=_made_table(traces),
        data=_script_json(data | {"dark": dark}),
        script=_asset("replay.js"),
        kind=("part" if is_part_of_a_page else "whole") + (" several compact" if beside else ""),
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def truth_in_words(trace: DecodeTrace, target: int, titles: TitleOf) -> str:
    """Say where the held-out item stood, when it was best, and whether it was taken or thrown away."""
    name = quoted(titles(target))
    forbidden_after = trace.about.get("target_forbidden_after")
    if forbidden_after == 0:
        so = "so it could not be recommended" if trace.kind == "gaussian" else "so no slot could take it"
        return f"The held-out item {name} was forbidden by you, {so}."
    if trace.kind == "gaussian":
        return _gaussian_truth(trace, target, name)
    words = _fate_in_words(trace, target, name, titles)
    return f"{words} You had forbidden it after step {forbidden_after}." if forbidden_after else words


def _fate_in_words(trace: DecodeTrace, target: int, name: str, titles: TitleOf) -> str:
    """Say what became of an item that was not forbidden when decoding started."""
    ranks = trace.target_rank(torch.tensor([target]))[:, 0].numpy()  # (T, K)
    final = trace.steps[-1].tokens[0].tolist()
    if target in final:
        return _taken(trace, target, name, ranks)
    if not ranks.any():
        seen = bool((trace.history[0] == target).any())
        why = "; it is in the history already, and seen items are not recommended" if seen else ""
        kept = trace.steps[0].candidates.shape[-1]
        return (
            f"The held-out item {name} was never in sight: "
            f"no slot ever had it among its {kept} best candidates{why}."
        )
    probability = _probability_of(trace, target)
    first_choice = ranks == 1
    if first_choice.any():
        step, slot = _argmax(np.where(first_choice, probability, -1))
        return (
            f"The held-out item {name} was there and was thrown away: at step {step + 1} it was the first choice of "
            f"slot {slot + 1} ({percent(probability[step, slot])}), {_what_happened(trace, step, slot, titles)}"
        )
    best = np.where(ranks > 0, ranks, np.iinfo(ranks.dtype).max)
    step, slot = _argmax(np.where(best == best.min(), probability, -1))
    return (
        f"The held-out item {name} was considered but never a first choice: at best it was number {ranks[step, slot]} "
        f"of slot {slot + 1} at step {step + 1} ({percent(probability[step, slot])}), "
        f"{_what_happened(trace, step, slot, titles)}"
    )


def legend_items() -> str:
    """Return the legend of the slot board as escaped ``<li>`` elements."""
    items = [
        f'<li class="{name}"><span class="glyph">{STATE_GLYPHS[name]}</span> {meaning}</li>'
        for name, meaning in STATE_MEANINGS.items()
    ]
    return "".join(items) + f'<li><span class="star">★</span> {TARGET_MEANING}</li>'


def board_style() -> str:
    """Return the style sheet of the slot board."""
    return _asset("board.css")


def _taken(trace: DecodeTrace, target: int, name: str, ranks: np.ndarray) -> str:
    items = trace.recommendations().items[0].tolist()
    slot = trace.steps[-1].tokens[0].tolist().index(target)
    step = int(trace.filled_at[0, slot])
    if step == PINNED:
        return f"The held-out item {name} is in the list because it was pinned to slot {slot + 1}."
    if trace.forced_at is not None and int(trace.forced_at[0, slot]) != NOBODY:
        return f"The held-out item {name} is in the list because you put it into slot {slot + 1} after step {step}."
    share = percent(float(trace.steps[step].probability[0, slot]))
    words = (
        f"The held-out item {name} is in the list, at place {items.index(target) + 1} of {len(items)}: "
        f"slot {slot + 1} took it at step {step + 1} with {share}"
    )
    first_seen = int((ranks == 1).any(axis=1).argmax()) if (ranks == 1).any() else step
    if first_seen < step:
        leader = int((ranks[first_seen] == 1).argmax())
        words += f"; it had been a first choice since step {first_seen + 1} (slot {leader + 1})"
    return words + "."


def _what_happened(trace: DecodeTrace, step: int, slot: int, titles: TitleOf) -> str:
    """Say what the slot took in the end instead of the target it had in sight at ``step``."""
    filled = int(trace.filled_at[0, slot])
    token = int(trace.steps[filled].tokens[0, slot])
    share = percent(float(trace.steps[filled].probability[0, slot]))
    when = "but in that step" if filled == step else f"but at step {filled + 1}"
    return f"{when} the slot took {quoted(titles(token))} ({share})."


def _gaussian_truth(trace: DecodeTrace, target: int, name: str) -> str:
    ranks = trace.target_rank(torch.tensor([target]))[:, 0, 0].tolist()
    kept = trace.steps[-1].candidates.shape[-1]
    if not any(ranks):
        return f"The held-out item {name} was never among the {kept} items nearest to the estimate."
    best = min(rank for rank in ranks if rank)
    end = f"it ended at place {ranks[-1]}" if ranks[-1] else f"it ended beyond place {kept}"
    return f"The held-out item {name} came nearest at step {ranks.index(best) + 1} (place {best}); {end}."


def _page_data(
    traces: Sequence[DecodeTrace],
    how: Sequence[str],
    titles: TitleOf,
    *,
    target: int | None,
    history_details: Sequence[str] | None,
) -> dict[str, Any]:
    """Return what the page's script reads; items are indices into one table of titles."""
    num_cells = sum(trace.num_steps * trace.num_slots for trace in traces)
    num_shown = max(1, min(8, _MAX_CELLS // num_cells))
    item_of: dict[int, int] = {}
    boards = [
        _board_data(trace, item_of, target=target, num_shown=num_shown)
        | {"name": name, "how": words, "differs": _differing(traces[0], trace)}
        for trace, name, words in zip(traces, _names(traces), how, strict=True)
    ]
    history = [token for token in traces[0].history[0].tolist() if token]
    details = list(history_details or [""] * len(history))[-len(history) :][-_MAX_HISTORY:] if history else []
    cards = [
        [item_of.setdefault(token, len(item_of)), _shorten(detail)]
        for token, detail in zip(history[-_MAX_HISTORY:], details, strict=True)
    ]
    if target is not None:
        item_of.setdefault(target, len(item_of))
    return {
        "titles": [_shorten(titles(token)) for token in item_of],
        "history": cards[::-1],
        "num_candidates": traces[0].steps[0].candidates.shape[-1],
        "states": list(SLOT_STATES),
        "glyphs": [STATE_GLYPHS[name] for name in SLOT_STATES],
        "sample_states": SAMPLE_STATES,
        "boards": boards,
        "target": None if target is None else item_of[target],
    }


def _board_data(
    trace: DecodeTrace, item_of: dict[int, int], *, target: int | None, num_shown: int
) -> dict[str, Any]:
    """Return the steps of one decode; ``item_of`` gets the items that it shows."""
    states = trace.slot_states()[:, 0].tolist()
    ranks = (
        [[0] * trace.num_slots] * trace.num_steps
        if target is None
        else trace.target_rank(torch.tensor([target]))[:, 0].tolist()
    )
    items, shares = (each[:, 0].tolist() for each in trace.leading_items())
    steps, filled_at, last_filled = [], [], [0] * trace.num_slots
    for number, step in enumerate(trace.steps):
        slots = []
        for slot in range(trace.num_slots):
            candidates = [
                [item_of.setdefault(token, len(item_of)), round(share, 5)]
                for token, share in zip(
                    step.candidates[0, slot, :num_shown].tolist(),
                    step.candidate_probability[0, slot, :num_shown].tolist(),
                    strict=True,
                )
                if token
            ]
            token = items[number][slot]
            item = item_of.setdefault(token, len(item_of)) if token else -1
            if SLOT_STATES[states[number][slot]] in TAKING_STATES:
                last_filled[slot] = number + 1
            share, score = shares[number][slot], float(step.score[0, slot])
            slots.append(
                [
                    states[number][slot],
                    item,
                    round(share, 5),
                    round(score, 5),
                    candidates,
                    ranks[number][slot],
                ]
            )
        steps.append(slots)
        filled_at.append(list(last_filled))
    return {
        "num_slots": trace.num_slots,
        "steps": steps,
        "filled_at": filled_at,
        "has_slots": trace.kind == "masked",
        "start": _start(trace),
        "pinned": _pinned_data(trace, item_of),
        "score_name": score_name(trace),
    }


def _start(trace: DecodeTrace) -> str:
    """Return what there is before the first step."""
    if trace.kind == "gaussian":
        return NOISE
    return "all others masked" if trace.pinned_items() else "all masked"


def _pinned_data(trace: DecodeTrace, item_of: Mapping[int, int]) -> list[list[int]]:
    """Return the item that a person put into each slot and the step since when, (-1, 0) where nobody did."""
    at_start, in_the_end = trace.pinned_items(), trace.pinned_items(trace.num_steps - 1)
    since = [0] * trace.num_slots if trace.forced_at is None else (trace.forced_at[0] + 1).tolist()
    return [
        [item_of[in_the_end[slot]], 0 if slot in at_start and not since[slot] else since[slot]]
        if slot in in_the_end
        else [-1, 0]
        for slot in range(trace.num_slots)
    ]


def _differing(first: DecodeTrace, other: DecodeTrace) -> list[list[int]]:
    """Return the slots that differ from the first decode's after every step; nothing for that one itself."""
    if other is first:
        return []
    differs = parting(first, other).differs[:, 0, : other.num_slots]
    return [slots.nonzero().flatten().tolist() for slots in differs]


def _names(traces: Sequence[DecodeTrace]) -> list[str]:
    """Return what several decodes are called; a single one has no name."""
    return [chr(ord("A") + place) for place in range(len(traces))] if len(traces) > 1 else [""]


def _how(trace: DecodeTrace) -> str:
    return str(trace.config.get("rule", "embedding diffusion")).replace("_", " ")


def score_name(trace: DecodeTrace) -> str | None:
    """Return what the trace's rule sorted by, None where it is the model's probability itself."""
    rule = trace.config.get("rule")
    return RULES[rule].score if rule in RULES else None


def score_in_digits(score: float, digits: int) -> str:
    """Return what a rule sorted by for people: a place or a count without decimals."""
    return f"{score:.0f}" if score.is_integer() else f"{score:.{digits}f}"


def share_of_a_place(share: float | None) -> str:
    """Return what stands in a list as the model's probability of an item; None where a person put it there."""
    return "pinned by you" if share is None else percent(share)


def decoding_in_words(trace: DecodeTrace) -> str:
    """Return how a list came about: ``threshold_decay, 10 slots in 4 steps``, ``embedding diffusion, 32 steps``."""
    if trace.kind == "gaussian":
        return f"embedding diffusion, {trace.num_steps} steps"
    return f"{trace.config['rule']}, {trace.num_slots} slots in {trace.num_steps} steps"


def made_in_words(trace: DecodeTrace) -> str:
    """Say how a decode was made: what it is, every knob that is not as usual, what a person laid down, which run."""
    seed = [f"seed {trace.config['seed']}"] if "seed" in trace.config else []
    knobs = ", ".join([*seed, *_changed_knobs(trace)])
    if trace.kind == "gaussian":
        words = [
            f"Embedding diffusion, {trace.num_steps} steps from noise to a sample, {knobs}.",
            "Each shows the items nearest to the estimate of the next item’s embedding.",
        ]
    else:
        rule = trace.config.get("rule")
        how = f"{rule.replace('_', ' ')}: {RULES[rule].summary}" if rule in RULES else trace.kind
        slots, steps = (
            f"{number} {what}{'s' * (number != 1)}"
            for number, what in ((trace.num_slots, "slot"), (trace.num_steps, "step"))
        )
        sizes = ", ".join([slots, steps, *filter(None, [knobs])])
        words = [f"{sizes}. Rule {how}."]
    by_hand = _laid_down(trace.about)
    words += [f"By hand: {'; '.join(by_hand)}."] if by_hand else []
    words += [f"Run {trace.about['run']}."] if "run" in trace.about else []
    return " ".join(words)


def _changed_knobs(trace: DecodeTrace) -> list[str]:
    """Return the knobs that are not the default ones, beside those that are told anyhow or change nothing."""
    usual = vars(SampleConfig() if trace.kind == "gaussian" else DecodeConfig())
    return [
        f"{name.replace('_', ' ')} {value}"
        for name, value in trace.config.items()
        if name not in _TOLD_ELSEWHERE and name in usual and value != usual[name]
    ]


def _laid_down(about: Mapping[str, Any]) -> list[str]:
    """Return what a person pinned, forbade, edited and changed on the way, as a trace says it of itself: with ids."""
    return [
        *(f"slot {slot} pinned to item {item}" for slot, item in about.get("pinned", {}).items()),
        *(f"item {item} forbidden" for item in about.get("forbidden_too", [])),
        *(f"history edited, {edit}" for edit in about.get("edits", [])),
        *(f"branch after step {branch['change']}" for branch in about.get("branches", [])),
    ]


def _made_table(traces: Sequence[DecodeTrace]) -> str:
    """Return all that the traces say of how they were made as an HTML table, a column each."""
    made = [{**trace.about, **trace.config} for trace in traces]
    names = dict.fromkeys(name for each in made for name in each if name != "targets")  # which are tokens
    rows = [
        [name.replace("_", " "), *(_value_text(each[name]) if name in each else "" for each in made)]
        for name in names
    ]
    head = f"<tr><th></th>{''.join(f'<th>{name}</th>' for name in _names(traces))}</tr>" * (len(traces) > 1)
    cells = ("".join(f"<td>{html.escape(_shorten(cell, _MAX_VALUE))}</td>" for cell in row) for row in rows)
    return f'<table class="candidates">{head}{"".join(f"<tr>{row}</tr>" for row in cells)}</table>'


def _value_text(value: object) -> str:
    """Return a JSON value for people: a text as it is, nothing for what is empty."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_value_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(_value_text(each) for each in value)
    return value if isinstance(value, str) else json.dumps(value)


def _list_table(trace: DecodeTrace, titles: TitleOf, *, target: int | None) -> str:
    """Return the recommended list as an HTML table: what the page says without its script."""
    recommended = trace.recommendations()
    slots = trace.steps[-1].tokens[0].tolist()
    pinned = trace.pinned_items(trace.num_steps - 1)
    rows = []
    for place, (token, share) in enumerate(
        zip(recommended.items[0].tolist(), recommended.scores[0].tolist(), strict=True), start=1
    ):
        if not token:
            continue
        star = "★ " if token == target else ""
        slot = slots.index(token) if trace.kind == "masked" else 0
        step = int(trace.filled_at[0, slot]) + 1 or "start"
        cells = [
            place,
            f"{star}<bdi>{html.escape(_shorten(titles(token)))}</bdi>",
            share_of_a_place(None if slot in pinned else share),
            *((slot + 1, step) if trace.kind == "masked" else ()),
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    where = ("slot", "step") if trace.kind == "masked" else ()
    head = "".join(f"<th>{name}</th>" for name in ("place", "item", "model's probability", *where))
    return f'<table class="candidates"><tr>{head}</tr>{"".join(rows)}</table>'


def _probability_of(trace: DecodeTrace, target: int) -> np.ndarray:
    """Return the model's probability of the target per step and slot, (T, K), 0 beyond the candidates."""
    shares = [
        (step.candidate_probability * (step.candidates == target)).sum(dim=-1)[0].numpy()
        for step in trace.steps
    ]
    return np.stack(shares)


def _argmax(values: np.ndarray) -> tuple[int, int]:
    step, slot = np.unravel_index(int(values.argmax()), values.shape)
    return int(step), int(slot)


def _shorten(text: str, length: int = _MAX_TITLE) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def quoted(title: str) -> str:
    """Return a title for a sentence: one line without marks that turn the direction of what follows."""
    printable = "".join(char for char in title[:1000] if char.isprintable())
    return f"“{_shorten(printable, 80)}”"


def _script_json(data: dict[str, Any]) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")
