"""Numbers and titles are text that says no more than it knows, in colours that everybody can tell apart."""

from __future__ import annotations

from workbench.figure_style import STATE_COLORS, label, percent
from workbench.replay import board_style
from workbench.slot_states import NOISE

OKABE_ITO = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}


def test_a_label_is_one_line_of_at_most_the_asked_length():
    assert label("a\n b\tc", 10) == "a b c"
    assert label("abcdefghij", 5) == "abcd…"
    assert label("a < b & c", 20) == "a &lt; b &amp; c"


def test_a_probability_is_never_rounded_to_none_or_all():
    assert [percent(value) for value in (0.0, 0.0001, 0.012, 0.25, 0.9999, 1.0)] == [
        "<0.1 %",
        "<0.1 %",
        "1.2 %",
        "25 %",
        ">99.9 %",
        "100.0 %",
    ]
    assert percent(float("nan")) == "not a number"


def test_every_colour_of_a_state_is_one_of_okabe_and_itos_and_the_board_has_the_same():
    grey = ("masked", NOISE)
    chromatic = {name: color for name, color in STATE_COLORS.items() if name not in grey}
    assert set(chromatic.values()) <= OKABE_ITO
    style = board_style().lower()
    for name, color in chromatic.items():
        assert f"--{name}: {color.lower()}" in style
