"""The replay is one small page that needs nothing, shows titles as text, and says what became of the truth."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest
import torch

from diffsasrec.branching import Branch
from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.decoding import decode
from diffsasrec.trace import SLOT_STATES, DecodeStep, DecodeTrace
from diffsasrec.trace_comparison import parting
from tests.diffsasrec.decode_cases import make_config, ragged, table_logits
from workbench.replay import replay_html, truth_in_words
from workbench.slot_states import STATE_GLYPHS
from workbench.views import board

NUM_ITEMS = 120
MEGABYTE = 1_000_000
WILD = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> & \u2028 \u202egnitirw"


def title(token: int) -> str:
    return f"Film {token}"


def decoded(rule: str = "low_confidence", *, num_slots: int = 6, num_candidates: int = 10) -> DecodeTrace:
    table = torch.randn(num_slots, NUM_ITEMS, generator=torch.Generator().manual_seed(5)) * 2
    config = DecodeConfig(rule=rule, num_slots=num_slots, num_candidates=num_candidates)
    return decode(
        lambda tokens: table.expand(len(tokens), -1, -1),
        torch.tensor([[0, 0, 1, 2, 3]]),
        num_items=NUM_ITEMS,
        user_seeds=torch.tensor([7]),
        config=config,
    ).user(0)


def by_hand(steps: list[dict]) -> DecodeTrace:
    """Return a trace of two slots: per step the tokens, which are new, and per slot its candidates with shares."""
    made = []
    for step in steps:
        names, shares = zip(*step["candidates"], strict=True)
        made.append(
            DecodeStep(
                tokens=torch.tensor([step["tokens"]]),
                unmasked=torch.tensor([step["new"]]),
                remasked=torch.zeros(1, 2, dtype=torch.bool),
                probability=torch.tensor([[share[0] for share in shares]]),
                score=torch.tensor([[share[0] for share in shares]]).double(),
                entropy=torch.zeros(1, 2),
                margin=torch.zeros(1, 2),
                candidates=torch.tensor([names]),
                candidate_probability=torch.tensor([shares]),
            )
        )
    filled_at = torch.tensor(
        [[next(index for index, step in enumerate(steps) if step["new"][slot]) for slot in (0, 1)]]
    )
    config = {"rule": "low_confidence", "rank_by": "confidence", "seed": 0}
    return DecodeTrace(torch.tensor([[1, 2, 3]]), config, tuple(made), filled_at)


MASK = 99
TWO_STEPS = [
    {
        "tokens": [10, MASK],
        "new": [True, False],
        "candidates": [([10, 20], [0.6, 0.2]), ([30, 10], [0.4, 0.3])],
    },
    {
        "tokens": [10, 40],
        "new": [False, True],
        "candidates": [([10, 20], [0.6, 0.2]), ([40, 30], [0.5, 0.3])],
    },
]


class Page(HTMLParser):
    """Collects the elements of a page, their attributes, and what its data element holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.is_data = False
        self.data_text = ""
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.is_data = ("id", "data") in attrs

    def handle_endtag(self, tag):
        self.is_data = False

    def handle_data(self, data):
        if self.is_data:
            self.data_text += data
        self.shown += data

    @property
    def data(self) -> dict:
        return json.loads(self.data_text)


@pytest.mark.parametrize("rule", RULES)
def test_the_page_holds_every_step_as_the_trace_has_it(rule):
    trace = decoded(rule)
    target = int(trace.steps[0].candidates[0, 1, 2])
    data = Page(replay_html(trace, title, target=target)).data
    items, shares = trace.leading_items()
    states = trace.slot_states()[:, 0]
    ranks = trace.target_rank(torch.tensor([target]))[:, 0]
    assert data["titles"][data["target"]] == title(target)
    assert len(data["boards"][0]["steps"]) == trace.num_steps
    for step, slots in enumerate(data["boards"][0]["steps"]):
        for slot, (state, item, share, score, candidates, rank) in enumerate(slots):
            assert data["states"][state] == SLOT_STATES[states[step, slot]]
            assert data["titles"][item] == title(int(items[step, 0, slot]))
            assert share == pytest.approx(float(shares[step, 0, slot]), abs=1e-5)
            assert score == pytest.approx(float(trace.steps[step].score[0, slot]), abs=1e-5)
            assert rank == int(ranks[step, slot])
            assert [data["titles"][candidate] for candidate, _ in candidates] == [
                title(token) for token in trace.steps[step].candidates[0, slot, :8].tolist()
            ]


def test_the_page_asks_for_nothing_from_anywhere():
    page = replay_html(decoded(), title)
    parsed = Page(page)
    assert not {"link", "img", "iframe", "object", "base"} & set(parsed.tags)
    assert not {"src", "href", "action"} & {name for name, _ in parsed.attributes}
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttpRequest|WebSocket", page)
    assert "default-src 'none'" in page


def test_a_title_cannot_leave_its_place():
    plain, wild = (
        Page(replay_html(decoded(), name, target=4, title=name(0))) for name in (title, lambda token: WILD)
    )
    assert wild.tags == plain.tags
    assert {name for name, _ in wild.attributes} == {name for name, _ in plain.attributes}
    assert wild.data["titles"] == [WILD] * len(wild.data["titles"])


def test_the_page_stays_below_a_megabyte_with_many_slots_and_endless_titles():
    trace = decoded(num_slots=50, num_candidates=100)
    assert trace.num_steps == 50
    page = replay_html(trace, lambda token: f"{token}" + "\u20ac" * 10_000, target=7)
    assert len(page.encode()) < MEGABYTE


def test_a_title_that_is_no_valid_text_does_not_break_the_page():
    assert "Film ?" in replay_html(decoded(), lambda token: "Film \ud800")


def test_the_draw_of_the_random_rule_has_its_own_name_and_confidence_rules_have_none():
    assert Page(replay_html(decoded("random"), title)).data["boards"][0]["score_name"] == "random draw"
    assert Page(replay_html(decoded("low_confidence"), title)).data["boards"][0]["score_name"] is None


def test_the_history_has_the_latest_item_first_with_its_date():
    data = Page(replay_html(decoded(), title, history_details=["May", "June", "July"])).data
    assert [(data["titles"][item], when) for item, when in data["history"]] == [
        ("Film 3", "July"),
        ("Film 2", "June"),
        ("Film 1", "May"),
    ]


def test_without_its_script_the_page_still_shows_the_list_as_a_table():
    trace = decoded()
    shown = Page(replay_html(trace, title)).shown
    for token in trace.recommendations().items[0].tolist():
        assert title(token) in shown


def test_a_taken_truth_is_said_with_slot_step_and_place():
    words = truth_in_words(by_hand(TWO_STEPS), 40, title)
    assert words == (
        "The held-out item “Film 40” is in the list, at place 2 of 2: slot 2 took it at step 2 with 50 %."
    )


def test_a_truth_that_was_first_and_lost_is_called_thrown_away():
    words = truth_in_words(by_hand(TWO_STEPS), 30, title)
    assert "was there and was thrown away: at step 1 it was the first choice of slot 2 (40 %)" in words
    assert words.endswith("but at step 2 the slot took “Film 40” (50 %).")


def test_a_truth_that_was_never_first_is_called_considered():
    words = truth_in_words(by_hand(TWO_STEPS), 20, title)
    assert "considered but never a first choice: at best it was number 2 of slot 1 at step 1 (20 %)" in words
    assert words.endswith("but in that step the slot took “Film 10” (60 %).")


def test_a_truth_out_of_sight_is_said_to_be_and_why_when_it_was_seen_before():
    assert "never in sight: no slot ever had it among its 2 best candidates." in truth_in_words(
        by_hand(TWO_STEPS), 77, title
    )
    assert "it is in the history already" in truth_in_words(by_hand(TWO_STEPS), 3, title)


def test_a_taken_truth_says_since_when_it_led():
    steps = [
        TWO_STEPS[0],
        {**TWO_STEPS[1], "tokens": [10, 30], "candidates": [([10, 20], [0.6, 0.2]), ([30, 40], [0.7, 0.1])]},
    ]
    assert "it had been a first choice since step 1 (slot 2)" in truth_in_words(by_hand(steps), 30, title)


def test_a_title_in_a_sentence_cannot_turn_its_direction():
    assert "\u202e" not in truth_in_words(by_hand(TWO_STEPS), 20, lambda token: WILD)


def test_an_embedding_diffusion_says_when_the_truth_came_nearest():
    trace = decoded(num_slots=1)
    gaussian = dataclasses.replace(trace, kind="gaussian", config={"list_length": 10, "seed": 3})
    target = int(trace.steps[0].candidates[0, 0, 2])
    assert "came nearest at step 1 (place 3); it ended at place 3" in truth_in_words(gaussian, target, title)
    page = Page(replay_html(gaussian, title, target=target))
    (only,) = page.data["boards"]
    assert (only["num_slots"], only["has_slots"], only["start"]) == (1, False, "noise")
    before = board.slots(gaussian, None, title, chosen=None, target=target)
    assert '<span class="head"><span>noise</span>' in before
    after = board.slots(gaussian, 0, title, chosen=None, target=target)
    assert '<span class="head"><span>nearest item</span>' in after
    assert "●" not in after
    assert page.data["sample_states"]["new"] == "nearest item"
    assert "masked" not in before
    assert "masked: still open" not in page.shown


def test_the_page_follows_the_theme_it_is_told_or_the_readers():
    assert Page(replay_html(decoded(), title, dark=True)).data["dark"] is True
    assert Page(replay_html(decoded(), title)).data["dark"] is None


def test_a_pinned_item_is_said_to_be_pinned_and_a_changed_slot_to_be_changed():
    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        """Slot 1 wants item 1, and item 2 once it is full; slot 2 is pinned."""
        logits = torch.zeros(len(tokens), 2, NUM_ITEMS)
        logits[:, 0, 0], logits[:, 0, 1] = 20.0, 10.0
        logits[tokens[:, -2] <= NUM_ITEMS, 0, 1] = 40.0
        return logits

    trace = decode(
        logits_of,
        torch.tensor([[4]]),
        num_items=NUM_ITEMS,
        pinned=torch.tensor([[0, 3]]),
        user_seeds=torch.tensor([7]),
        config=DecodeConfig(rule="refine", num_slots=2),
    )
    assert trace.steps[-1].tokens.tolist() == [[2, 3]]
    page = Page(replay_html(trace, title, target=3))
    assert "is in the list because it was pinned to slot 2." in page.shown
    names = [[page.data["states"][slot[0]] for slot in step] for step in page.data["boards"][0]["steps"]]
    assert names == [["new", "kept"], ["changed", "kept"]]
    cards = board.slots(trace, 1, title, chosen=None, target=3)
    assert 'class="slot changed"' in cards
    assert "</span> pinned</span>" in cards
    assert page.data["boards"][0]["pinned"] == [[-1, 0], [page.data["titles"].index(title(3)), 0]]
    before = board.slots(trace, None, title, chosen=None, target=None)
    assert before.count("nothing predicted yet") == 1
    assert title(3) in before
    assert board.candidates(trace, 0, 1, title, target=None).count("<tr") == 0


def test_two_decodes_share_a_page_and_every_step_says_where_they_differ():
    first, other = decoded("low_confidence"), decoded("left_to_right")
    page = Page(replay_html(first, title, target=3, beside={"left to right": other}, words="They part."))
    left, right = page.data["boards"]
    assert (left["name"], right["name"]) == ("A", "B")
    assert (left["how"], right["how"]) == ("low confidence", "left to right")
    assert left["differs"] == []
    differs = parting(first, other).differs[:, 0]
    assert right["differs"] == [slots.nonzero().flatten().tolist() for slots in differs]
    assert page.data["titles"][right["steps"][0][0][1]] == title(int(other.steps[0].tokens[0, 0]))
    assert "They part." in page.shown
    assert "A: The held-out item" in page.shown
    assert "B: The held-out item" in page.shown


def test_two_decodes_with_many_slots_and_endless_titles_stay_below_a_megabyte():
    first, other = (decoded(rule, num_slots=50, num_candidates=100) for rule in ("low_confidence", "random"))
    page = replay_html(first, lambda _: WILD, beside={WILD[:100]: other})
    assert len(page.encode()) < 1_000_000
    assert "<script>alert" not in page


def branched(after_step: int, *, pins=None, forbidden=()) -> DecodeTrace:
    table = [{1: 0.9, 3: 0.05}, {2: 0.6, 3: 0.3}, {4: 0.5, 3: 0.4}]
    branch = Branch(after_step, None if pins is None else torch.tensor([pins]), ragged([list(forbidden)]))
    return decode(
        table_logits(table),
        torch.tensor([[1, 2]]),
        num_items=6,
        user_seeds=torch.tensor([5]),
        config=make_config(rule="low_confidence", num_slots=3),
        branches=[branch],
    )


def test_an_item_put_into_a_slot_on_the_way_is_pinned_from_then_on():
    trace = branched(1, pins=[0, 0, 3])
    assert truth_in_words(trace, 3, title).endswith(
        "is in the list because you put it into slot 3 after step 1."
    )
    page = Page(replay_html(trace, title, target=3))
    assert page.data["boards"][0]["pinned"] == [[-1, 0], [-1, 0], [page.data["titles"].index(title(3)), 2]]
    before, after = (board.slots(trace, step, title, chosen=None, target=3) for step in (0, 1))
    assert "pinned" not in before
    assert "by you, since step 2" in after


def test_a_list_says_of_what_a_person_put_into_it_no_probability():
    shown = Page(replay_html(branched(1, pins=[0, 0, 3]), title)).shown
    assert "Film 3pinned by you32" in shown  # in slot 3, at step 2
    assert shown.count("pinned by you") == 1


def test_what_another_slot_holds_is_marked_among_the_candidates():
    trace = by_hand(TWO_STEPS)
    first, second = (board.candidates(trace, step, 1, title, target=None) for step in (0, 1))
    assert '<td class="mark">→ slot 1</td>' in first
    assert "slot 1" not in second  # whose candidates the other item is not among
    taken = board.candidates(trace, 1, 0, title, target=None)
    assert "■" not in taken.replace(f"{STATE_GLYPHS['kept']} taken", "")
    again = dataclasses.replace(trace.steps[0], unmasked=torch.zeros(1, 2, dtype=torch.bool))
    later = dataclasses.replace(trace, steps=(trace.steps[0], again))
    assert '<td class="mark">in slot 1</td>' in board.candidates(later, 1, 1, title, target=None)


def test_a_page_says_how_its_decode_was_made_as_the_trace_has_it():
    trace = branched(1, pins=[0, 0, 3])
    about = {
        "run": "toy-diffsasrec/abc",
        "pinned": {"1": 1009},
        "forbidden_too": ["<b>12"],
        "edits": ["remove 1"],
        "branches": [{"parent": "user-7-random-1", "change": "2: pin 3=1230"}],
    }
    config = trace.config | {"temperature": 0.7, "num_candidates": 20}
    trace = dataclasses.replace(trace, about=about, config=config)
    page = replay_html(trace, title)
    header, made = Page(page.split("</header>")[0]).shown, Page(page.split("How it was made")[1]).shown
    assert "3 slots, 2 steps, seed 0, temperature 0.7. Rule low confidence:" in header
    assert (
        "slot 1 pinned to item 1009; item <b>12 forbidden; history edited, remove 1; branch after" in header
    )
    assert "branch after step 2: pin 3=1230. Run toy-diffsasrec/abc." in header
    for words in ("temperature0.7", "num candidates20", "pinned1: 1009", "change: 2: pin 3=1230", "rank by"):
        assert words in made
    assert "<b>12" not in page


def test_a_page_of_two_decodes_says_how_each_was_made():
    first, other = decoded("low_confidence"), decoded("left_to_right")
    page = replay_html(first, title, beside={"left to right": other})
    header, made = Page(page.split("</header>")[0]).shown, Page(page.split("How it was made")[1]).shown
    assert "A: 6 slots" in header
    assert "B: 6 slots" in header
    assert "rulelow_confidenceleft_to_right" in made


def test_a_score_that_is_a_place_has_no_decimals_on_the_board():
    trace = decoded("left_to_right")
    assert "<span>place from the right 6</span>" in board.slots(trace, 0, title, chosen=None, target=None)
    assert "<b>6</b> <small>no confidence</small>" in board.candidates(trace, 0, 0, title, target=None)


def test_a_held_out_item_that_was_forbidden_is_said_to_be_so():
    trace = branched(1, forbidden=[3])
    from_start = dataclasses.replace(trace, about={"target_forbidden_after": 0})
    assert truth_in_words(from_start, 3, title).endswith("was forbidden by you, so no slot could take it.")
    later = dataclasses.replace(trace, about={"target_forbidden_after": 1})
    assert truth_in_words(later, 3, title).endswith("You had forbidden it after step 1.")
    sample = dataclasses.replace(from_start, kind="gaussian", config={"list_length": 4})
    assert truth_in_words(sample, 3, title).endswith("was forbidden by you, so it could not be recommended.")
    assert "considered" in truth_in_words(later, 3, title)
