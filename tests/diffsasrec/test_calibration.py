"""Reliability by hand, and the error of models whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest

from diffsasrec.calibration import Statements, fitted_temperature, reliability


def said_and_true(num_users: int, num_slots: int, *, overconfidence: float = 0.0, seed: int = 0):
    """Return confidences (B, K), and hits that come true that much less often than said."""
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.3, 1.0, size=(num_users, num_slots))
    return confidence, random.random((num_users, num_slots)) < confidence - overconfidence


def test_a_curve_by_hand() -> None:
    confidence = np.array([[0.05, 0.95], [0.06, 1.0], [0.91, 0.5]])
    is_hit = np.array([[False, True], [True, False], [True, False]])
    found = reliability(confidence, is_hit)
    low, middle, high = found.curve()
    assert low == {"low": 0.0, "high": 0.1, "count": 2, "confidence": pytest.approx(0.055), "hits": 0.5}
    assert middle == {"low": 0.5, "high": 0.6, "count": 1, "confidence": 0.5, "hits": 0.0}
    assert (high["count"], high["hits"]) == (3, pytest.approx(2 / 3))
    gaps = 2 * 0.445 + 1 * 0.5 + 3 * abs(2.86 / 3 - 2 / 3)
    assert found.expected_error() == pytest.approx(gaps / 6)


def test_a_model_that_says_one_and_is_right_has_no_error() -> None:
    found = reliability(np.ones((5, 2)), np.ones((5, 2), dtype=bool))
    assert found.expected_error() == 0.0
    assert found.interval() == (0.0, 0.0)


def test_a_model_that_is_too_sure_by_a_fifth_has_an_error_of_a_fifth() -> None:
    found = reliability(*said_and_true(3000, 4, overconfidence=0.2))
    assert found.expected_error() == pytest.approx(0.2, abs=0.02)
    low, high = found.interval()
    assert 0.18 < low < found.expected_error() < high < 0.22


def test_the_interval_holds_the_error_also_where_it_is_all_noise() -> None:
    for seed in range(5):
        found = reliability(*said_and_true(60, 1, seed=seed))
        low, high = found.interval(seed=seed)
        assert 0 <= low <= found.expected_error() <= high <= 1


def test_users_are_drawn_with_all_they_were_told() -> None:
    """Ten slots of a user that are right or wrong together say no more than one: the interval must not shrink."""
    random = np.random.default_rng(0)
    is_right = np.repeat(random.random((400, 1)) < 0.5, 10, axis=1)
    low, high = reliability(np.full((400, 10), 0.8), is_right).interval()
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.15)


def test_groups_of_users_give_the_width_of_single_users(monkeypatch) -> None:
    found = reliability(*said_and_true(2000, 1, overconfidence=0.2))
    grouped = np.ptp(found.interval())
    monkeypatch.setattr("diffsasrec.calibration._MOST_GROUPS", 2000)
    assert grouped == pytest.approx(np.ptp(found.interval()), rel=0.2)


def test_groups_are_formed_at_random_whatever_the_order_of_the_users() -> None:
    """Who is right depends on the place among 500: groups by place would be right or wrong as one user."""
    is_right = (np.arange(2000) % 500 < 250)[:, None]
    low, high = reliability(np.full((2000, 1), 0.8), is_right).interval()
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(2000), rel=0.15)


def test_the_same_seed_gives_the_same_interval() -> None:
    found = reliability(*said_and_true(50, 2))
    assert found.interval(seed=3) == found.interval(seed=3)
    assert found.interval(seed=3) != found.interval(seed=4)


def statements(*, overconfidence: float, num_kept: int | None = None, seed: int = 0) -> Statements:
    """Return what a model says whose logits are that many times too large; its hits come as often as is true."""
    logits = np.random.default_rng(seed).normal(size=(500, 12)) * 2

    def softmax(values):
        shares = np.exp(values - values.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    true, said = softmax(logits), softmax(overconfidence * logits)
    said = -np.sort(-said, axis=1)
    return Statements(
        committed=said[:, 0],
        candidates=said[:, :num_kept],
        num_others=np.full(500, 12 - len(said[0, :num_kept])),
        is_hit=true.max(axis=1),
    )


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7, 4.0])
def test_logits_that_are_too_large_by_a_factor_give_the_factor_back(factor: float) -> None:
    told = statements(overconfidence=factor)
    assert fitted_temperature(told) == pytest.approx(factor, rel=1e-4)
    np.testing.assert_allclose(told.at(factor), told.is_hit, atol=1e-9)


def test_a_temperature_of_one_changes_nothing() -> None:
    told = statements(overconfidence=3.0, num_kept=4)
    np.testing.assert_allclose(told.at(1.0), told.committed, atol=1e-12)


def test_a_few_kept_candidates_nearly_give_the_factor_back() -> None:
    assert fitted_temperature(statements(overconfidence=2.0, num_kept=6)) == pytest.approx(2.0, rel=0.1)


def test_the_fitted_temperature_mends_what_a_model_says_to_others() -> None:
    """Fitted on some users, it takes the error of others away."""
    random = np.random.default_rng(1)
    temperature = fitted_temperature(statements(overconfidence=2.5, seed=2))
    told = statements(overconfidence=2.5, seed=3)
    is_hit = random.random((500, 1)) < told.is_hit[:, None]
    before = reliability(told.committed[:, None], is_hit).expected_error()
    after = reliability(told.at(temperature)[:, None], is_hit).expected_error()
    assert (before > 0.15, after < 0.06) == (True, True)


def test_a_temperature_needs_statements() -> None:
    nothing = np.zeros(0)
    with pytest.raises(ValueError, match="decode some users"):
        fitted_temperature(Statements(nothing, np.zeros((0, 3)), nothing, nothing))
