"""Page Learn: the forward process of masked diffusion, on a history that people can read."""

from __future__ import annotations

import streamlit as st
import torch

from diffsasrec.masking import MASK_EPSILON, mask_probability
from diffsasrec.randomness import uniform
from workbench.figures import forward_process
from workbench.views import board, decode
from workbench.views.page import chart, check_address, frame, is_dark, say_what_is_unknown
from workbench.views.sources import ExampleSource, Person

_NUM_ITEMS = 12  # of the history, so that all are seen at once

TITLE = "Learn: how a history disappears"
INTRODUCTION = """
To learn how to fill empty places, the model is first shown how they come about. A time **t** between 0 and 1 is
drawn for a history, and every item becomes a mask with probability **p = (1 − ε) t + ε**, each on its own.
Move t: at 0 nearly everything is there, at 1 everything is gone.
"""
WEIGHT = """
The model guesses the masked items from what is left. A history with few masks gives few guesses, so each guess
counts **1 / p** in the loss: that makes the sum an upper bound of −log likelihood, whatever t was drawn.
"""
BACK = """
**Backwards.** Decoding starts where this ends, at t = 1: behind a user's whole history wait slots that are all
masked. Step by step the model says what it thinks of every open slot, a *rule* picks the ones to fill, and the
next step sees them filled. The order in which slots are filled is not the order of the places in the list.
"""
TRAINING_ALGORITHM = """
t ~ U(0, 1)                        # stratified over the batch
p = (1 - eps) * t + eps            # eps = 0.001
masked = uniform(items) < p        # real items only, never the padding
loss = sum(cross_entropy(model(x with masks), x)[masked] / p) / number of real items
"""


def page() -> None:
    """Draw the page."""
    frame()
    say_what_is_unknown(("t", "draw"))
    st.title(TITLE, anchor=False)
    st.markdown(INTRODUCTION)
    source = ExampleSource()
    _forward(source, source.person(source.user_at(0)))
    st.markdown(WEIGHT)
    with st.expander("The same as pseudo-code", icon=":material/code:"):
        st.code(TRAINING_ALGORITHM.strip(), language="python")
    st.markdown(BACK)
    st.page_link(
        st.Page(decode.page, url_path="decode", default=True),
        label="Step through the reverse process",
        icon=":material/grid_view:",
    )


@st.fragment(key="forward")
def _forward(source: ExampleSource, person: Person) -> None:
    """Draw a history at a time t; the same draws for every t, so that what is gone stays gone."""
    tokens = person.tokens[-_NUM_ITEMS:].tolist()
    moments = person.timestamps[-_NUM_ITEMS:].tolist()
    check_address("t", limits=(0, 1))
    check_address("draw", limits=(0, 999))
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
    masked_from = ((draws - MASK_EPSILON) / (1 - MASK_EPSILON)).clamp(0, 1).tolist()
    figure = forward_process([card.title for card in cards], masked_from, time)
    chart(figure, key="forward-process", alt=f"When each item of the history is masked as t grows. {words}")
