"""Parts of the Decode page as HTML: history, slots, candidates. Everything from outside is escaped here.

Titles are text, whatever they hold: they are escaped, isolated from the direction of the text around them, and
cut where the style sheet ends a card.
"""

from __future__ import annotations

import html
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from diffsasrec.trace import NOBODY, OPEN_STATES, SLOT_STATES, TAKING_STATES, DecodeTrace
from diffsasrec.vocabulary import PAD_ID
from workbench.differences import DIFFERENT_GLYPH
from workbench.figure_style import TARGET_GLYPH, TitleOf, percent
from workbench.replay import board_style, legend_items, score_in_digits, score_name, share_of_a_place
from workbench.slot_states import NOISE, SAMPLE_STATES, STATE_GLYPHS

SHARED_GLYPH = "="  # of an item that two lists have
_MAX_TITLE = 300  # characters sent to the browser; a card shows two lines of them


class HistoryCard(NamedTuple):
    """An item of a history for people."""

    title: str
    detail: str  # genres
    when: str


class ListedItem(NamedTuple):
    """A place of the recommended list for people."""

    place: int
    title: str
    genres: str
    share: float | None  # the model's probability; None: the reader put it there
    slot: int
    step: int  # 0: before the first one
    popularity: int
    popularity_rank: int
    is_seen: bool
    is_target: bool


def style(content: str, *, dark: bool, is_compact: bool = False) -> str:
    """Return content in a board of the theme, with the style sheet that it needs."""
    theme = f"board{' dark' if dark else ''}{' compact' if is_compact else ''}"
    return f'<style>{board_style()}</style><div class="{theme}">{content}</div>'


def history(cards: Sequence[HistoryCard], *, held_out: HistoryCard) -> str:
    """Return a history, oldest first, and the held-out item after it, as a strip that shows its right end."""
    words = f'<small><span class="star">{TARGET_GLYPH}</span> hidden from the model</small>'
    items = [_history_card(held_out, "held-out", words), *(_history_card(card) for card in reversed(cards))]
    return f'<ol class="history" tabindex="0" aria-label="history, latest first">{"".join(items)}</ol>'


def _history_card(card: HistoryCard, kind: str = "", words: str = "") -> str:
    title, detail = html.escape(_cut(card.title)), html.escape(_cut(card.detail))
    return (
        f'<li class="{kind}" title="{title}">{words}<span class="name"><bdi>{title}</bdi></span>'
        f"<small><bdi>{detail}</bdi></small><small>{html.escape(card.when)}</small></li>"
    )


def noised(cards: Sequence[HistoryCard], masked: Sequence[bool]) -> str:
    """Return a history, oldest first, in which some items are hidden behind a mask."""
    items = []
    for place, (card, is_masked) in enumerate(zip(cards, masked, strict=True), start=1):
        state = "masked" if is_masked else "kept"
        name = "MASK" if is_masked else f"<bdi>{html.escape(_cut(card.title))}</bdi>"
        detail = "" if is_masked else f"<bdi>{html.escape(_cut(card.detail))}</bdi>"
        glyph = f'<span class="glyph">{STATE_GLYPHS[state]}</span>'
        items.append(
            f'<li class="slot {state}"><span class="head"><span><b>{place}</b> {glyph} '
            f'{"masked" if is_masked else "visible"}</span></span><span class="name">{name}</span>'
            f'<span class="foot"><span>{detail}</span></span></li>'
        )
    return f'<ol class="slots" aria-label="history, oldest first">{"".join(items)}</ol>'


def heading(title: str, about: str) -> str:
    """Return a page's first line: what it is about, and a few words more."""
    return (
        f"<h1><bdi>{html.escape(_cut(title))}</bdi> <small><bdi>{html.escape(_cut(about))}</bdi></small></h1>"
    )


def note(text: str) -> str:
    """Return a sentence that stands out, about anything but the held-out item alone."""
    return f'<p class="story note">{html.escape(text)}</p>'


def story(text: str) -> str:
    """Return the sentence about the held-out item."""
    star = f'<span class="star">{TARGET_GLYPH}</span>'
    return f'<p class="story">{star} {html.escape(text)}</p>'


def side(name: str, how: str, about: str) -> str:
    """Return the heading of one of several decodes."""
    how, about = html.escape(_cut(how)), html.escape(_cut(about))
    return f'<p class="side"><b>{html.escape(name)}</b> {how} <small>{about}</small></p>'


def legend() -> str:
    """Return what colours and glyphs mean."""
    return f'<ul class="legend" aria-label="legend">{legend_items()}</ul>'


def slots(
    trace: DecodeTrace,
    step: int | None,
    titles: TitleOf,
    *,
    chosen: int | None,
    target: int | None,
    differing: Container[int] = (),
    name: str = "slots",
) -> str:
    """Return the K slots after a step (None: before the first one) as cards; ``differing`` slots are marked."""
    pinned, every_slot = trace.pinned_items(step), range(trace.num_slots)
    if step is None:
        cards = {slot: _empty_slot(trace, slot, chosen=chosen) for slot in every_slot}
    else:
        states = [SLOT_STATES[code] for code in trace.slot_states()[step, 0].tolist()]
        items, shares = (each[step, 0].tolist() for each in trace.leading_items())
        cards = {
            slot: _slot(
                trace,
                step,
                slot,
                titles,
                state=states[slot],
                held=(items[slot], shares[slot]),
                mark=_mark(slot, chosen, differing),
                target=target,
            )
            for slot in every_slot
            if slot not in pinned
        }
    for slot, token in pinned.items():
        cards[slot] = _pinned_slot(
            trace, slot, titles(token), mark=_mark(slot, chosen, differing), is_target=token == target
        )
    cards = {
        slot: card.replace("</b>", f'</b> <span class="differs-glyph">{DIFFERENT_GLYPH}</span>', 1)
        if slot in differing
        else card
        for slot, card in cards.items()
    }
    items = "".join(cards[slot] for slot in every_slot)
    return f'<ol class="slots" aria-label="{html.escape(name)}">{items}</ol>'


def candidates(
    trace: DecodeTrace, step: int, slot: int, titles: TitleOf, *, target: int | None, num_shown: int = 10
) -> str:
    """Return both confidences of a slot, side by side, and its best candidates as a table.

    The target has a row of its own below the others where it stands further down. What another slot holds is marked:
    this one could not take it.
    """
    if slot in trace.pinned_items(step):
        return f'<p class="name">{STATE_GLYPHS["kept"]} Pinned: the model was not asked for this slot.</p>'
    at_step = trace.steps[step]
    state = SLOT_STATES[int(trace.slot_states()[step, 0, slot])]
    is_taken = state in ("new", "kept") and trace.kind == "masked"
    taken = int(at_step.tokens[0, slot]) if is_taken else None
    tokens = at_step.candidates[0, slot].tolist()
    shares = at_step.candidate_probability[0, slot].tolist()
    top = max(shares[0], 1e-9)
    elsewhere = _held_by_others(trace, step, slot)
    marked = [token for token in (target, taken) if token is not None]
    rows = []
    for place, (token, share) in enumerate(zip(tokens, shares, strict=True), start=1):
        is_shown = place <= num_shown or token in marked
        if token == PAD_ID or not is_shown:
            continue
        kinds = ("taken " if token == taken else "") + ("is-target" if token == target else "")
        name = f"<bdi>{html.escape(_cut(titles(token)))}</bdi>"
        star = f'<span class="star">{TARGET_GLYPH}</span> ' if token == target else ""
        mark = f"{STATE_GLYPHS[state]} taken" if token == taken else elsewhere.get(token, "")
        rows.append(
            f'<tr class="{kinds}"><td class="number">{place}</td><td class="item"><span>{star}{name}</span></td>'
            f'<td class="share"><div class="meter"><i style="width:{100 * share / top:.1f}%"></i></div></td>'
            f'<td class="number">{percent(share)}</td><td class="mark">{mark}</td></tr>'
        )
    head = "<tr><th></th><th>candidate</th><th>model</th><th></th><th></th></tr>"
    return f'{_scores(trace, step, slot)}<table class="candidates">{head}{"".join(rows)}</table>'


def _held_by_others(trace: DecodeTrace, step: int, slot: int) -> dict[int, str]:
    """Return token -> the other slot that holds it after a step, with an arrow where it took it in that step."""
    at_step = trace.steps[step]
    held = zip(at_step.tokens[0].tolist(), at_step.unmasked[0].tolist(), strict=True)
    return {
        token: f"{'→' if is_new else 'in'} slot {other + 1}"
        for other, (token, is_new) in enumerate(held)
        if other != slot
    }


def listed(items: Sequence[ListedItem], *, has_slots: bool = True) -> str:
    """Return the recommended list as a table, with slot and step of each item where it has such."""
    where = ("slot", "step") if has_slots else ()
    columns = ("place", "item", "genres", "model", "", *where, "popularity", "rank", "already seen")
    head = "".join(f"<th>{name}</th>" for name in columns)
    rows = []
    for item in items:
        star = f'<span class="star">{TARGET_GLYPH}</span> ' if item.is_target else ""
        title, genres = html.escape(_cut(item.title)), html.escape(_cut(item.genres))
        seen = "yes" if item.is_seen else "no"
        width, share = f"{100 * (item.share or 0):.1f}%", share_of_a_place(item.share)
        step = item.step or "start"
        place = f'<td class="number">{item.slot}</td><td class="number">{step}</td>' if has_slots else ""
        rows.append(
            f'<tr class="{"is-target" if item.is_target else ""}"><td class="number">{item.place}</td>'
            f'<td class="item"><span>{star}<bdi>{title}</bdi></span></td>'
            f'<td class="item"><span><bdi>{genres}</bdi></span></td>'
            f'<td class="share"><div class="meter"><i style="width:{width}"></i></div></td>'
            f'<td class="number">{share}</td>{place}<td class="number">{item.popularity:,}</td>'
            f'<td class="number">{item.popularity_rank:,}</td><td class="mark">{seen}</td></tr>'
        )
    return f'<div class="wide"><table class="candidates listed"><tr>{head}</tr>{"".join(rows)}</table></div>'


def lists(columns: Mapping[str, Sequence[int]], titles: TitleOf, *, target: int | None, shared: str) -> str:
    """Return lists side by side as a table, a column each; an item that the list ``shared`` has too is marked."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    rows = []
    for place in range(max(len(tokens) for tokens in columns.values())):
        cells = []
        for name, tokens in columns.items():
            token = tokens[place] if place < len(tokens) else PAD_ID
            star = f'<span class="star">{TARGET_GLYPH}</span> ' if token and token == target else ""
            is_shared = name != shared and token in columns[shared]
            same = f'<span class="glyph">{SHARED_GLYPH}</span> ' if is_shared else ""
            text = f"{star}{same}<bdi>{html.escape(_cut(titles(token)))}</bdi>" if token else ""
            cells.append(f'<td class="item{" shared" if is_shared else ""}"><span>{text}</span></td>')
        rows.append(f'<tr><td class="number">{place + 1}</td>{"".join(cells)}</tr>')
    return f'<div class="wide"><table class="candidates lists"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _scores(trace: DecodeTrace, step: int, slot: int) -> str:
    """Return the model's probability and what the rule sorted by: two numbers, never one for the other."""
    at_step = trace.steps[step]
    share = percent(float(trace.leading_items()[1][step, 0, slot]))
    name = score_name(trace)
    if trace.kind == "gaussian":
        rule = "<small>softmax over all items of their likeness to the estimate</small>"
    elif name is None:
        rule = f"<small>the rule sorted by</small><b>{share}</b> <small>the same probability</small>"
    else:
        score = score_in_digits(float(at_step.score[0, slot]), 3)
        rule = f"<small>the rule sorted by a {html.escape(name)}</small><b>{score}</b> <small>no confidence</small>"
    return f'<div class="scores"><div><small>model’s probability</small><b>{share}</b></div><div>{rule}</div></div>'


def _empty_slot(trace: DecodeTrace, slot: int, *, chosen: int | None) -> str:
    state = NOISE if trace.kind == "gaussian" else "masked"
    return (
        f'<li class="slot {state}{_mark(slot, chosen)}"><span class="head"><span>{_head(trace, slot, state)}'
        '</span></span><span class="name">nothing predicted yet</span></li>'
    )


def _pinned_slot(trace: DecodeTrace, slot: int, title: str, *, mark: str, is_target: bool) -> str:
    forced = NOBODY if trace.forced_at is None else int(trace.forced_at[0, slot])
    when = "from the start" if forced == NOBODY else f"since step {forced + 1}"
    star = f'<span class="star">{TARGET_GLYPH}</span> ' if is_target else ""
    return (
        f'<li class="slot kept{mark}"><span class="head"><span><b>{slot + 1}</b> '
        f'<span class="glyph">{STATE_GLYPHS["kept"]}</span> pinned</span></span>'
        f'<span class="name">{star}<bdi>{html.escape(_cut(title))}</bdi></span>'
        f'<span class="foot"><span>by you, {when}</span></span></li>'
    )


def _mark(slot: int, chosen: int | None, differing: Container[int] = ()) -> str:
    return (" chosen" if slot == chosen else "") + (" differs" if slot in differing else "")


def _slot(
    trace: DecodeTrace,
    step: int,
    slot: int,
    titles: TitleOf,
    *,
    state: str,
    held: tuple[int, float],
    mark: str,
    target: int | None,
) -> str:
    token, share = held
    is_open = state in OPEN_STATES and trace.kind == "masked"
    star = f'<span class="star">{TARGET_GLYPH}</span> ' if token and token == target else ""
    name = f"<bdi>{html.escape(_cut(titles(token)))}</bdi>" if token else "no candidate left"
    leans = "leans to " if is_open else ""
    when = _when_filled(trace, step, slot) if state == "kept" and trace.kind == "masked" else ""
    score, value = score_name(trace), float(trace.steps[step].score[0, slot])
    sorted_by = f"{html.escape(score)} {score_in_digits(value, 2)}" if score else ""
    return (
        f'<li class="slot {state}{mark}"><span class="head"><span>{_head(trace, slot, state)}</span>'
        f"<span>{when}</span></span>"
        f'<span class="name">{star}{leans}{name}</span>'
        f'<span class="meter"><i style="width:{100 * share:.1f}%"></i></span>'
        f'<span class="foot"><b>{percent(share)}</b><span>{sorted_by}</span></span></li>'
    )


def _head(trace: DecodeTrace, slot: int, state: str) -> str:
    """Return a card's number and state; of a sample, which has no slots, words that need no legend."""
    if trace.kind == "gaussian":
        return SAMPLE_STATES.get(state, state)
    return f'<b>{slot + 1}</b> <span class="glyph">{STATE_GLYPHS[state]}</span> {state}'


def _when_filled(trace: DecodeTrace, step: int, slot: int) -> str:
    """Return the last step up to ``step`` at which the slot got another item, in words."""
    states = [SLOT_STATES[code] for code in trace.slot_states()[: step + 1, 0, slot].tolist()]
    return f"step {max(index for index, state in enumerate(states) if state in TAKING_STATES) + 1}"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TITLE else text[: _MAX_TITLE - 1] + "…"
