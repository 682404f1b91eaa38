"""Page Learn: masked diffusion in five lessons on the example that comes with the package.

What the lessons say, and what they ask of a trace, is in ``workbench.lessons``.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable

import streamlit as st
import torch

from diffsasrec.decode_config import RULES
from diffsasrec.masking import MASK_EPSILON, mask_probability
from diffsasrec.randomness import uniform
from diffsasrec.trace import OPEN_STATES, SLOT_STATES, DecodeTrace
from workbench import lessons
from workbench.decode_request import DecodeRequest
from workbench.figure_style import TARGET_GLYPH
from workbench.learn_figures import forward_process, loss_weight, slot_and_rank
from workbench.views import board
from workbench.views.page import (
    as_table,
    chart,
    check_address,
    check_position,
    choose_one,
    frame,
    go_on,
    is_dark,
    link,
    opening,
    plain,
    say_what_is_unknown,
)
from workbench.views.sources import ExampleSource, Person

_ADDRESS = ("lesson", "t", "draw", "user", "rule", "step")
_NUM_ITEMS = 12  # of the history, so that all are seen at once
_CODE_STYLE = """
<style>
.algorithm { margin: 0; padding: .5rem .2rem; font: 13px/1.75 monospace; overflow-x: auto; }
.algorithm span { display: block; white-space: pre; padding: 0 .6rem; border-left: 4px solid transparent; }
.algorithm .lit { border-left-color: #e69f00; background: rgba(230, 159, 0, .22); font-weight: 700; }
</style>
"""


def page() -> None:
    """Draw the page."""
    frame()
    opening("Learn", "How masked diffusion works, lesson by lesson, on people of a generated world.")
    say_what_is_unknown(_ADDRESS)
    lesson = choose_one("Lesson", lessons.LESSONS, key="lesson", label_visibility="collapsed")
    source = ExampleSource()
    _DRAW[lesson](source)
    go_on(
        ("", "Step through the reverse process", "grid_view"),
        ("cohort", "What does it do to many users? Cohort", "groups"),
        ("data", "What do models learn from? Data", "database"),
    )


def _show_forward(source: ExampleSource) -> None:
    st.markdown(lessons.FORWARD)
    _forward(source, source.person(source.user_at(0)))
    with st.expander("The same as pseudo-code", icon=":material/code:"):
        st.code(lessons.TRAINING_ALGORITHM.strip(), language="python")


@st.fragment(key="forward")
def _forward(source: ExampleSource, person: Person) -> None:
    """Draw a history at a time t; the same draws for every t, so that what is gone stays gone."""
    tokens = person.tokens[-_NUM_ITEMS:].tolist()
    moments = person.timestamps[-_NUM_ITEMS:].tolist()
    check_address("t", limits=(0, 1))
    check_address("draw", limits=(0, 999), is_whole=True)
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    time = left.slider("time t", 0.0, 1.0, 0.4, 0.01, key="t", bind="query-params")
    right.number_input("draw", 0, 999, 0, key="draw", bind="query-params", help="Other random numbers.")
    draws = uniform(int(st.session_state["draw"]), torch.arange(len(tokens)))
    probability = float(mask_probability(torch.tensor(time)))
    masked = (draws < probability).tolist()
    cards = [
        board.HistoryCard(source.title(token), source.genres(token), person.when(moment))
        for token, moment in zip(tokens, moments, strict=True)
    ]
    words = (
        f"t = {time:.2f}, p = {probability:.3f}: {sum(masked)} of {len(masked)} items are masked, "
        f"and each guess counts 1 / p = {1 / probability:.1f}."
    )
    st.html(board.style(board.noised(cards, masked), dark=is_dark()))
    st.markdown(f"**{words}**")
    names = [card.title for card in cards]
    figure = forward_process(names, lessons.masked_from(draws).tolist(), time)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        chart(
            figure, key="forward-process", alt=f"When each item of the history is masked as t grows. {words}"
        )
        as_table(
            lessons.forward_table(names, draws, time),
            key="forward-table",
            alt="when each item of the history is masked",
            column_config=dict.fromkeys(
                ("draw", "masked from t"), st.column_config.NumberColumn(format="%.3f")
            ),
        )
    with right:
        weight = loss_weight(time, epsilon=MASK_EPSILON)
        chart(weight, key="loss-weight", alt=f"What a guess counts in the loss over the time t. {words}")
        as_table(
            lessons.weight_table(),
            key="weight-table",
            alt="what a guess counts at some times t",
            column_config={
                "t": st.column_config.NumberColumn(format="%.2f"),
                "p": st.column_config.NumberColumn(format="%.3f"),
                "a guess counts": st.column_config.NumberColumn(format="%.1f"),
            },
        )
    st.markdown(lessons.WEIGHT)


def _choose(source: ExampleSource) -> tuple[Person, DecodeTrace]:
    """Draw the choice of a person and of a rule, and return the decode."""
    people = [source.user_at(index) for index in range(source.num_users)]
    rules = source.rules()
    check_address("user", people)
    check_address("rule", rules)
    with st.container(horizontal=True):
        user = st.selectbox("User", people, key="user", bind="query-params", width=120)
        rule = st.selectbox("Rule", rules, key="rule", bind="query-params", width=200)
    config = dataclasses.replace(source.default_config(), rule=rule)
    return source.person(user), source.decode(DecodeRequest(run="", user=user, config=config))


def _show_backward(source: ExampleSource) -> None:
    st.markdown(lessons.BACKWARD)
    person, trace = _choose(source)
    _backward(source, person, trace)


@st.fragment(key="backward")
def _backward(source: ExampleSource, person: Person, trace: DecodeTrace) -> None:
    """Draw a step beside the lines that run in it."""
    check_position("step", trace.num_steps)
    number = st.slider("Step", 0, trace.num_steps, value=1, key="step", bind="query-params")
    step = None if number == 0 else number - 1
    left, right = st.columns([1, 1], gap="medium")
    with left:
        st.html(_CODE_STYLE + _algorithm(trace, step))
        st.caption("▶ and the band mark the lines that run in this step.")
    with right:
        slots = board.slots(trace, step, source.title, chosen=None, target=person.target)
        st.html(board.style(board.legend() + slots, dark=is_dark()))


def _algorithm(trace: DecodeTrace, step: int | None) -> str:
    lines = []
    for (_, code), is_lit in zip(lessons.REVERSE_ALGORITHM, lessons.lit_lines(trace, step), strict=True):
        mark, look = ("▶ ", ' class="lit"') if is_lit else ("  ", "")
        lines.append(f"<span{look}>{mark}{html.escape(code)}</span>")
    return f'<pre class="algorithm" tabindex="0" aria-label="pseudo-code">{"".join(lines)}</pre>'


def _show_order(source: ExampleSource) -> None:
    st.markdown(lessons.ORDER)
    person, trace = _choose(source)
    table = lessons.order_and_rank(trace)
    same = int((table["slot"] == table["place in the list"]).sum())
    words = f"{same} of {len(table)} slots stand at their own place in the list"
    figure = slot_and_rank(table, source.title, target=person.target)
    chart(figure, key="slot-and-rank", alt=f"Place in the list of every slot: {words}")
    starred = f" {TARGET_GLYPH} is the held-out item." if (table["token"] == person.target).any() else ""
    st.markdown(f"**{words}.**{starred}")
    shown = table.assign(item=[source.title(token) for token in table["token"]]).drop(columns="token")
    as_table(shown, key="order-table", alt="slots, when they were filled, and their places in the list")


def _show_guess(source: ExampleSource) -> None:
    st.markdown(lessons.GUESS)
    person, trace = _choose(source)
    rule = trace.config["rule"]
    st.caption(f"{plain(rule)} {RULES[rule].summary}.")
    _guess(source, person, trace)


@st.fragment(key="guess")
def _guess(source: ExampleSource, person: Person, trace: DecodeTrace) -> None:
    """Draw a decode that waits for a guess, and judge it."""
    rounds = lessons.rounds(trace)
    turn = int(st.session_state.get("turn", 0)) % len(rounds)
    step = rounds[turn]
    before = step - 1 if step else None
    states = ["masked"] * trace.num_slots
    if before is not None:
        states = [SLOT_STATES[code] for code in trace.slot_states()[before, 0].tolist()]
    open_slots = [slot + 1 for slot, state in enumerate(states) if state in OPEN_STATES]
    st.html(
        board.style(
            board.legend() + board.slots(trace, before, source.title, chosen=None, target=person.target),
            dark=is_dark(),
        )
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        guess = st.pills("Your guess: slot", open_slots, key=f"guess-{turn}")
        st.button("Another step", key="another", on_click=_next_turn, icon=":material/skip_next:")
    if guess is not None:
        is_right, words = lessons.verdict(trace, step, int(guess))
        (st.success if is_right else st.info)(words)


def _next_turn() -> None:
    st.session_state["turn"] = int(st.session_state.get("turn", 0)) + 1


def _show_demonstrations(source: ExampleSource) -> None:
    st.markdown(
        "Three walks of five minutes, a minute a stop. They need no run: all of it is the bundled example."
    )
    for column, each in zip(st.columns(3, gap="medium"), lessons.DEMONSTRATIONS, strict=True):
        with column, st.container(border=True):
            st.subheader(each.title, anchor=False)
            st.caption(each.question)
            for number, stop in enumerate(each.stops, start=1):
                st.markdown(f"**{number}.** {stop.words}")
                if stop.page == "learn":
                    st.button(
                        stop.label,
                        key=f"stop-{stop.label}",
                        type="tertiary",
                        icon=":material/arrow_forward:",
                        on_click=_go_to_lesson,
                        kwargs=stop.address,
                    )
                else:
                    link(stop.page, stop.label, "arrow_forward", **stop.address)


def _go_to_lesson(lesson: str, **address: str) -> None:
    """Open another lesson: a link to the page that is shown leaves what its widgets hold."""
    st.query_params.update(address)  # of widgets that are not drawn yet
    st.session_state["lesson"] = lesson


_DRAW: dict[str, Callable[[ExampleSource], None]] = dict(
    zip(
        lessons.LESSONS,
        (_show_forward, _show_backward, _show_order, _show_guess, _show_demonstrations),
        strict=True,
    )
)
