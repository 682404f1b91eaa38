"""The stepper shows what the trace holds, to people with a kernel and to those without, and titles as text."""

from __future__ import annotations

import re

import ipywidgets
import pytest
import torch

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.decoding import decode
from diffsasrec.trace import DecodeTrace
from workbench import stepper

NUM_ITEMS = 20


def title(token: int) -> str:
    return f"<i>Film</i> {token}"


@pytest.fixture(scope="module")
def trace() -> DecodeTrace:
    table = torch.randn(3, NUM_ITEMS, generator=torch.Generator().manual_seed(5)) * 2
    return decode(
        lambda tokens: table.expand(len(tokens), -1, -1),
        torch.tensor([[1, 2]]),
        num_items=NUM_ITEMS,
        user_seeds=torch.tensor([7]),
        config=DecodeConfig(rule="left_to_right", num_slots=3),
    ).user(0)


def test_the_table_fills_one_slot_a_step_and_keeps_it(trace):
    rows = [re.findall(r"<td>(.)", row) for row in stepper.steps_table(trace, title).split("<tr>")[2:]]
    assert rows == [list("●■■"), list("□●■"), list("□□●")]


def test_titles_are_text_and_the_held_out_item_has_a_star(trace):
    taken = int(trace.steps[-1].tokens[0, 1])
    page = stepper.steps_table(trace, title, target=taken)
    assert "<i>" not in page
    assert page.count("★") == 2  # the step that took it, and the one after
    assert f"<b>&lt;i&gt;Film&lt;/i&gt; {taken} ★</b>" in page


def test_moving_the_slider_shows_the_step(trace):
    box = stepper.stepper(trace, title)
    slider, shown = box.children[0].children[1], box.children[1]
    assert "Step 1: " in shown.value
    slider.value = 3
    assert "Step 3: " in shown.value
    assert "□" not in shown.value
    assert "<i>" not in shown.value
    assert slider.max == trace.num_steps


@pytest.mark.parametrize(("mode", "has_buttons"), [("bar", True), ("lines", False)])
def test_buttons_are_for_those_who_look_and_the_table_for_all(trace, monkeypatch, mode, has_buttons):
    shown = []
    monkeypatch.setenv("WORKBENCH_PROGRESS", mode)
    monkeypatch.setattr(stepper, "display", shown.append)
    stepper.show_steps(trace, title)
    assert any(isinstance(each, ipywidgets.VBox) for each in shown) == has_buttons
    assert shown[-1].data.startswith("<table>")
