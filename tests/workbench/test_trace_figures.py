"""Figures of a trace say what the trace says, in sizes, edges and glyphs as well as colours, whatever a title holds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.decoding import decode
from diffsasrec.trace import SLOT_STATES, DecodeTrace
from workbench.figure_style import percent
from workbench.trace_figures import candidates_bar, slot_step_matrix, slot_strip, truth_figure

NUM_ITEMS = 30
WILD = "<script>alert(1)</script> <b>bold</b> \u202egnitirw\u202c " + "x" * 10_000


def title(token: int) -> str:
    return f"Film {token}"


def decoded(rule: str = "low_confidence", *, num_slots: int = 6) -> DecodeTrace:
    """Return one user's trace under a fixed table of logits that sharpen as slots are filled."""
    table = torch.randn(num_slots, NUM_ITEMS, generator=torch.Generator().manual_seed(3)) * 2

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        filled = (tokens[:, -num_slots:] <= NUM_ITEMS).sum(dim=1)
        return table * (1 + 0.2 * filled[:, None, None])

    history = torch.arange(1, 6)[None]
    config = DecodeConfig(rule=rule, num_slots=num_slots, num_candidates=12)
    return decode(logits_of, history, num_items=NUM_ITEMS, user_seeds=torch.tensor([7]), config=config).user(
        0
    )


def with_an_emptied_slot(trace: DecodeTrace) -> DecodeTrace:
    """Return the trace with slot 1 emptied again at its last step."""
    last = trace.steps[-1]
    where = torch.zeros_like(last.remasked)
    where[0, 0] = True
    step = dataclasses.replace(last, remasked=where, unmasked=last.unmasked & ~where)
    return dataclasses.replace(trace, steps=(*trace.steps[:-1], step))


def cells(figure) -> dict[tuple[int, int], dict]:
    """Return what the matrix shows per (step, slot)."""
    found = {}
    for trace in figure.data:
        for index, cell in enumerate(trace.customdata if trace.customdata is not None else ()):
            found[tuple(cell)] = {
                "state": trace.name,
                "size": trace.marker.size,
                "value": None if isinstance(trace.marker.color, str) else trace.marker.color[index],
                "text": None if trace.text is None else trace.text[index],
                "hover": trace.hovertext[index],
            }
    return found


def assert_short_text(figure) -> None:
    """Raise where something of ``WILD`` got into a figure as more than short text."""
    text = figure.to_json()
    assert "<script" not in text.replace("\\u003c", "<")
    assert "\\u202e" not in text
    assert "\u202e" not in text
    assert "xxxxxxxx" * 10 not in text


@pytest.mark.parametrize("rule", RULES)
def test_the_matrix_has_a_clickable_square_for_every_slot_and_step_with_the_value_of_the_trace(rule):
    trace = decoded(rule)
    shown = cells(slot_step_matrix(trace, "margin", titles=title))
    assert set(shown) == {(step, slot) for step in range(trace.num_steps) for slot in range(trace.num_slots)}
    states = trace.slot_states()[:, 0]
    for (step, slot), cell in shown.items():
        assert cell["value"] == pytest.approx(float(trace.steps[step].margin[0, slot]))
        assert cell["state"] == SLOT_STATES[states[step, slot]]


def test_a_masked_slot_is_smaller_than_a_filled_one_and_a_new_one_has_an_edge():
    figure = slot_step_matrix(decoded())
    by_name = {trace.name: trace for trace in figure.data if trace.customdata is not None}
    assert by_name["masked"].marker.size < by_name["kept"].marker.size == by_name["new"].marker.size
    assert by_name["new"].marker.line.width > by_name["kept"].marker.line.width == 0
    assert {trace.marker.symbol for trace in by_name.values()} == {"square"}


def test_the_matrix_marks_the_place_of_the_held_out_item_and_a_star_is_the_first():
    trace = decoded()
    target = int(trace.steps[0].candidates[0, 2, 0])
    ranks = trace.target_rank(torch.tensor([target]))[:, 0]
    for (step, slot), cell in cells(slot_step_matrix(trace, target=target)).items():
        rank = int(ranks[step, slot])
        assert cell["text"] == ("" if rank == 0 else "★" if rank == 1 else str(rank))


def test_sure_is_the_same_end_of_the_scale_for_entropy_and_for_probability():
    scales = {
        value: slot_step_matrix(decoded(), value).layout.coloraxis.colorscale
        for value in ("probability", "entropy")
    }
    assert scales["probability"][-1][1] == scales["entropy"][0][1]


def test_a_pinned_slot_does_not_stretch_the_colours_and_is_said_to_be_pinned():
    free = decoded()
    pinned = decode(
        lambda tokens: torch.zeros(len(tokens), 6, NUM_ITEMS),
        free.history,
        num_items=NUM_ITEMS,
        pinned=torch.tensor([[0, 9, 0, 0, 0, 0]]),
        user_seeds=torch.tensor([7]),
        config=DecodeConfig(rule="low_confidence", num_slots=6),
    )
    figure = slot_step_matrix(pinned, titles=title)
    assert figure.layout.coloraxis.cmax < 0.1
    (texts,) = {
        trace.hovertext[0] for trace in figure.data if trace.name == "kept" and trace.customdata[0][1] == 1
    }
    assert texts == "slot 2: pinned<br>Film 9"


def test_an_unknown_value_of_the_matrix_names_the_known_ones():
    with pytest.raises(ValueError, match="probability, entropy, margin"):
        slot_step_matrix(decoded(), "confidence")


def test_the_chosen_cell_and_step_are_marked():
    figure = slot_step_matrix(decoded(), step=2, slot=4)
    chosen = next(trace for trace in figure.data if trace.name == "chosen")
    assert (chosen.x[0], chosen.y[0]) == (3, 5)
    assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].x1) == (2.5, 3.5)


def test_a_score_that_is_a_place_has_no_decimals():
    hover = cells(slot_step_matrix(decoded("left_to_right")))[0, 0]["hover"]
    assert "sorted by a place from the right, 6 (no confidence)" in hover


def test_the_score_of_the_random_rule_is_shown_beside_the_probability_and_never_as_a_confidence():
    trace = decoded("random")
    hover = cells(slot_step_matrix(trace))[0, 0]["hover"]
    share, score = float(trace.steps[0].probability[0, 0]), float(trace.steps[0].score[0, 0])
    assert f"probability {percent(share)}" in hover
    assert f"a random draw, {score:.3f} (no confidence)" in hover
    bars = candidates_bar(trace, 0, 0, title)
    assert list(bars.data[0].x) == pytest.approx(trace.steps[0].candidate_probability[0, 0, :10].tolist())
    assert "random draw" in bars.layout.title.text


def test_the_score_of_a_confidence_rule_is_named_as_the_probability():
    assert "sorted by the model's probability" in candidates_bar(decoded(), 0, 0, title).layout.title.text


def test_before_the_first_step_every_slot_is_masked_and_nothing_is_predicted():
    strip = slot_strip(decoded(), None, title)
    assert [len(trace.y) for trace in strip.data] == [6, 0, 0, 0, 0]
    assert set(strip.data[0].text) == {""}


def test_the_strip_shows_every_state_with_its_glyph_and_a_legend():
    trace = with_an_emptied_slot(decoded())
    strip = slot_strip(trace, trace.num_steps - 1, title)
    assert [part.name for part in strip.data] == ["□ masked", "● new", "■ kept", "↺ emptied", "⇄ changed"]
    assert strip.data[3].y == ("1 ↺",)
    assert all(part.showlegend for part in strip.data)


def test_an_open_slot_leans_to_an_item_that_no_filled_slot_has():
    trace = decoded()
    strip = slot_strip(trace, 2, title)
    filled = {
        title(int(token))
        for token, state in zip(trace.steps[2].tokens[0], trace.slot_states()[2, 0], strict=True)
        if SLOT_STATES[state] in ("new", "kept")
    }
    leaning = [text.split(")")[0].strip("(").removesuffix(" ★") for text in strip.data[0].text]
    assert leaning
    assert not filled & set(leaning)


def test_the_candidates_are_ordered_and_mark_what_was_taken_and_the_held_out_item():
    trace = decoded()
    slot = int(trace.steps[-1].unmasked[0].int().argmax())
    step = trace.num_steps - 1
    taken, target = int(trace.steps[step].tokens[0, slot]), int(trace.steps[step].candidates[0, slot, 3])
    bar = candidates_bar(trace, step, slot, title, target=target).data[0]
    assert list(bar.x) == sorted(bar.x, reverse=True)
    marked = {name for name in bar.y if "taken" in name}
    assert marked == {next(name for name in bar.y if title(taken) in name)}
    assert bar.y[3].endswith("★")


def test_the_truth_figure_shows_the_rank_everywhere_and_a_dot_where_it_is_out_of_sight():
    trace = decoded()
    target = int(trace.steps[0].candidates[0, 0, 1])
    ranks = trace.target_rank(torch.tensor([target]))[:, 0].numpy()
    shown = cells(truth_figure(trace, target))
    assert set(shown) == set(np.ndindex(*ranks.shape))
    for cell, found in shown.items():
        assert (found["text"] is None) == (ranks[cell] == 0)


def test_titles_are_shown_as_short_text_whatever_they_hold():
    def wild(token: int) -> str:
        return WILD

    trace = decoded()
    for figure in (
        slot_strip(trace, 1, wild),
        slot_step_matrix(trace, titles=wild),
        candidates_bar(trace, 1, 1, wild),
    ):
        assert_short_text(figure)


def test_an_embedding_diffusion_with_one_slot_is_drawn_too():
    masked = decoded(num_slots=1)
    trace = dataclasses.replace(masked, kind="gaussian", config={"list_length": 10, "seed": 0})
    before = {bar.name: bar.y for bar in slot_strip(trace, None, title).data}
    assert list(before["░ noise"]) == [f"{slot + 1} ░" for slot in range(trace.num_slots)]
    assert not any("masked" in name for name in before)
    target = int(trace.steps[0].candidates[0, 0, 0])
    assert len(cells(slot_step_matrix(trace, titles=title, target=target))) == trace.num_steps
    assert truth_figure(trace, target).data
    assert slot_strip(trace, 0, title).data
    assert candidates_bar(trace, 0, 0, title).data
