"""Tables of outcomes that were made by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from diffsasrec.decode_analysis import FATES
from diffsasrec.decode_config import DecodeConfig
from workbench.decoding_study import Outcome, Setting
from workbench.study_tables import (
    best_decodings,
    calibration_table,
    claims,
    claims_in_words,
    figures_of,
    process_table,
    rankings_table,
    reliability_at,
    slots_table,
    steps_table,
    study_table,
)

NUM_USERS = 40
ROWS = np.arange(NUM_USERS)
LEANING = np.repeat([1.0, -1.0, 0.0], [9, 2, 29])  # a difference of which chance makes as much with p = .037


def figures(value: float, **others: float) -> dict[str, np.ndarray]:
    """Return figures that alternate around a mean, so that an interval has a width."""
    swing = np.tile([0.9, 1.1], NUM_USERS // 2)
    given = {"HR@1": value, "NDCG@1": value, **others}
    return {name: each * swing for name, each in given.items()}


def listed(name: str, way: str, value: float) -> Outcome:
    setting = Setting(system=name, way=way)
    return Outcome(setting, "test", ROWS, {way: figures(value)}, {way: {"Coverage@1": 0.5}}, {}, 1.0, 2.0)


def decoded(value: float, *, num_steps: int = 2, part: str = "test", sharpness: float = 1.0) -> Outcome:
    """Return two slots, of which the second is filled first; the item of the first slot is right for half the users."""
    decode = DecodeConfig(rule="low_confidence", num_slots=2, num_steps=num_steps)
    setting = Setting(system="diffsasrec", way="diffusion", decode=decode)
    each = np.ones((NUM_USERS, 1))
    share = np.array([0.5, 0.8]) ** (1 / sharpness), np.array([0.5, 0.2]) ** (1 / sharpness)
    likely = np.stack([share[0], share[1]], axis=-1)
    arrays = {
        "tokens": np.tile([[1, 2]], (NUM_USERS, 1)),
        "future": np.where(ROWS[:, None] % 2 == 0, [[1, 0]], [[3, 0]]),
        "probability": each * share[0] / likely.sum(axis=-1),
        "candidates": np.tile((likely / likely.sum(axis=-1, keepdims=True))[None], (NUM_USERS, 1, 1)),
        "num_others": np.zeros(NUM_USERS, dtype=int),
        "filled_at": np.tile([[1, 0]], (NUM_USERS, 1)),
        "place": np.tile([[2, 1]], (NUM_USERS, 1)),
        "regret": np.tile([[True, False]], (NUM_USERS, 1)),
        "entropy": np.tile([[2.0, 1.0]], (NUM_USERS, 1)),
        "duplicates": np.full(NUM_USERS, 3),
        "fate": np.where(ROWS % 2 == 0, FATES.index("listed"), FATES.index("thrown away")),
        "truth_step": np.zeros(NUM_USERS, dtype=int),
    }
    values = {"slot": figures(value), "confidence": figures(value / 2)}
    shares = {name: {"Coverage@2": 0.25} for name in values}
    return Outcome(setting, part, ROWS, values, shares, arrays, 2.0, 4.0)


NAME = "low_confidence num_slots=2 num_steps=2"


def with_figure(outcome: Outcome, **by_order: np.ndarray) -> Outcome:
    """Return the outcome with this NDCG@1 of each user in each order of its list, and nothing else."""
    shares = {order: {"Coverage@1": 0.5} for order in by_order}
    values = {order: {"NDCG@1": each} for order, each in by_order.items()}
    return dataclasses.replace(outcome, values=values, shares=shares)


def test_a_row_of_the_study_is_a_setting_and_an_order_of_its_list():
    table = study_table([listed("sasrec", "topk", 0.3), decoded(0.4)])
    assert table["setting"].tolist() == ["sasrec topk", NAME, NAME]
    assert table["ranked by"].tolist() == ["", "slot", "confidence"]
    assert table["NDCG@1"].tolist() == [pytest.approx(0.3), pytest.approx(0.4), pytest.approx(0.2)]
    assert (table["NDCG@1 low"] < table["NDCG@1"]).all()
    assert table["users/s"].tolist() == [20, 10, 10]


def test_a_last_look_takes_a_pass_for_each_slot():
    some = np.ones(NUM_USERS)
    table = study_table([with_figure(decoded(0.4), slot=some, confidence=some, rescored=some)])
    assert dict(zip(table["ranked by"], table["passes"], strict=True)) == {
        "slot": 2,
        "confidence": 2,
        "rescored": 4,
    }


def test_only_figures_that_all_have_are_compared():
    assert figures_of([listed("sasrec", "topk", 0.3), decoded(0.4)]) == ["HR@1", "NDCG@1"]


def test_a_process_is_told_in_shares():
    (row,) = process_table([listed("sasrec", "topk", 0.3), decoded(0.4)]).to_dict("records")
    assert row["first slot surest"] == 0.0
    assert row["ECE"] == pytest.approx(0.8 / 2)  # .5 and true for half, .8 and never true
    assert (row["steps"], row["duplicates"], row["regretted"]) == (2, 3, 0.5)
    assert {fate: row[fate] for fate in FATES} == {
        "listed": 0.5,
        "thrown away": 0.5,
        "considered": 0.0,
        "never in sight": 0.0,
    }


def test_slots_have_their_places_hits_and_regrets():
    table = slots_table([decoded(0.4)])
    assert table[["slot", "place", "hits", "regretted"]].to_numpy().tolist() == [[1, 2, 0.5, 1], [2, 1, 0, 0]]
    assert table["confidence"].tolist() == [pytest.approx(0.5), pytest.approx(0.8)]


def test_steps_have_their_commits_hits_entropy_and_lost_truths():
    table = steps_table([decoded(0.4)])
    assert table[["step", "commits", "hits", "entropy", "truth best and lost"]].to_numpy().tolist() == [
        [1, 40, 0.0, 2.0, 0.5],
        [2, 40, 0.5, 1.0, 0.0],
    ]


def test_a_temperature_of_validation_mends_the_error_on_test():
    """Slot 1 says .5 at the true temperature, and half its items are right; here all was said twice as sharply."""
    validation, test = decoded(0.4, part="validation", sharpness=0.5), decoded(0.4, sharpness=0.5)
    table = calibration_table([validation], [test]).set_index("slot")
    assert table.index.tolist() == ["all", 1, 2]
    assert table.loc["all", "ECE after"] < table.loc["all", "ECE before"]
    assert table.loc["all", "temperature"] > 1
    sharp = reliability_at(test, 1.0, slot=1).expected_error()
    assert sharp == pytest.approx(0.8**2 / (0.8**2 + 0.2**2))  # slot 2 is never right
    assert table.loc[2, "ECE before"] == pytest.approx(sharp)


def test_the_temperature_is_that_of_the_part_it_is_fitted_on():
    """It says .8, which is true of 70 % in validation and of 60 % in test: .8 becomes .7 where T is ln 4 / ln (7/3)."""

    def saying(part: str, share: float) -> Outcome:
        is_right = ROWS[:, None] < share * NUM_USERS
        made = decoded(0.4, part=part)
        said = {
            "tokens": np.ones((NUM_USERS, 1), dtype=int),
            "future": np.where(is_right, 1, 3),
            "probability": np.full((NUM_USERS, 1), 0.8),
            "candidates": np.tile([[[0.8, 0.2]]], (NUM_USERS, 1, 1)),
        }
        return dataclasses.replace(made, arrays={**made.arrays, **said})

    table = calibration_table([saying("validation", 0.7)], [saying("test", 0.6)])
    assert table["temperature"].tolist() == [pytest.approx(math.log(4) / math.log(7 / 3), abs=1e-4)] * 2
    assert table["ECE before"].tolist() == [pytest.approx(0.2)] * 2
    assert table["ECE after"].tolist() == [pytest.approx(0.1, abs=1e-4)] * 2


def test_orders_are_compared_on_the_same_users():
    (row,) = rankings_table([decoded(0.4)], figure="NDCG@1").to_dict("records")
    assert (row["first"], row["second"]) == ("confidence", "slot")
    assert row["difference"] == pytest.approx(0.2)
    assert row["p corrected"] < 0.01


def test_orders_are_compared_for_as_many_pairs_as_there_are():
    nothing = np.zeros(NUM_USERS)
    several = [decoded(0.4), decoded(0.4, num_steps=1)]
    table = rankings_table(
        [with_figure(each, slot=LEANING, confidence=nothing) for each in several], figure="NDCG@1"
    )
    assert table["p"].tolist() == [pytest.approx(0.037, abs=5e-4)] * 2
    assert table["p corrected"].tolist() == [pytest.approx(0.074, abs=1e-3)] * 2


def test_the_best_decoding_is_the_best_setting_in_its_best_order():
    several = [listed("sasrec", "topk", 0.9), decoded(0.4), decoded(0.5, num_steps=1)]
    best = best_decodings(several, ["NDCG@1"])
    assert best == {"NDCG@1": ("low_confidence num_slots=2 num_steps=1", "slot")}
    with pytest.raises(ValueError, match=r"'NDCG@3'.*'NDCG@1'"):
        best_decodings(several, ["NDCG@3"])
    with pytest.raises(ValueError, match="add a decoding"):
        best_decodings(several[:1], ["NDCG@1"])


def test_a_claim_wins_loses_or_is_undecided():
    others = [listed("diffsasrec", "topk", 0.2), listed("sasrec", "topk", 0.6)]
    equal = listed("sasrec", "autoregressive", 0.4)
    table = claims({"NDCG@1": (NAME, "slot")}, [decoded(0.4), *others, equal])
    assert dict(zip(table["competitor"], table["verdict"], strict=True)) == {
        "diffsasrec topk": "wins",
        "sasrec topk": "loses",
        "sasrec autoregressive": "undecided",
    }
    words = claims_in_words(table, part="test", chosen_on="validation", num_users=NUM_USERS)
    assert "decoding wins over diffsasrec topk alone" in words
    assert "+0.2000 [" in words
    assert "-0.2000 [" in words
    assert "autoregressive model was given" not in words
    assert words.startswith("Settings were chosen on the validation part; the test part has")
    flattered = claims_in_words(table, part="test", chosen_on="test", num_users=NUM_USERS)
    assert flattered.startswith("Settings were chosen on this very part, which flatters them")


def test_a_clear_difference_stays_one_however_many_are_compared():
    others = [listed(f"model{number}", "topk", 0.2) for number in range(30)]
    table = claims({"NDCG@1": (NAME, "slot")}, [decoded(0.4), *others])
    assert set(table["verdict"]) == {"wins"}


def test_what_one_comparison_would_find_two_may_leave_to_chance():
    own = with_figure(decoded(0.4), slot=LEANING)
    others = [with_figure(listed(name, "topk", 0.2), topk=np.zeros(NUM_USERS)) for name in ("one", "two")]
    alone = claims({"NDCG@1": (NAME, "slot")}, [own, others[0]])
    assert (alone["p corrected"].tolist(), alone["verdict"].tolist()) == (
        [pytest.approx(0.037, abs=5e-4)],
        ["wins"],
    )
    both = claims({"NDCG@1": (NAME, "slot")}, [own, *others])
    assert both["p corrected"].tolist() == [pytest.approx(0.074, abs=1e-3)] * 2
    assert both["verdict"].tolist() == ["undecided"] * 2


def test_a_user_without_a_figure_on_either_side_is_compared_on_neither():
    own, other = np.ones(NUM_USERS), np.full(NUM_USERS, 0.25)
    own[:2], other[:2] = [np.nan, 9.0], [9.0, np.nan]
    outcomes = [with_figure(decoded(0.4), slot=own), with_figure(listed("sasrec", "topk", 0.2), topk=other)]
    (row,) = claims({"NDCG@1": (NAME, "slot")}, outcomes).to_dict("records")
    assert (row["own"], row["other"], row["difference"], row["verdict"]) == (1.0, 0.25, 0.75, "wins")


def test_words_say_plainly_where_decoding_wins_over_all_and_where_over_none():
    def say(value: float) -> str:
        table = claims({"NDCG@1": (NAME, "slot")}, [decoded(value), listed("diffsasrec", "topk", 0.2)])
        return claims_in_words(table, part="test", chosen_on="validation", num_users=NUM_USERS)

    assert "decoding wins over all" in say(0.4)
    assert "decoding loses to all" in say(0.1)
    assert "decoding does not win" in say(0.2)
    assert "No autoregressive model was given" in say(0.4)


def test_other_users_are_refused():
    other = listed("sasrec", "topk", 0.2)
    moved = Outcome(other.setting, "test", ROWS + 1, other.values, other.shares, {}, 1.0, 2.0)
    with pytest.raises(ValueError, match="different users"):
        claims({"NDCG@1": (NAME, "slot")}, [decoded(0.4), moved])
