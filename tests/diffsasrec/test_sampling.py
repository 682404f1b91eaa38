"""A reverse process of two steps over five items, whose trace is worked out by hand."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.gaussian import SampleStep
from diffsasrec.sampling import SampleConfig, sampled_trace
from diffsasrec.sequences import Forbidden

HISTORY = torch.tensor([[0, 2], [3, 1]])
FIRST = torch.tensor([[4.0, 3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0]])


def trace_of(*estimates: torch.Tensor, forbidden: Forbidden | None = None, **config):
    steps = [SampleStep(time, x0_hat, x0_hat) for time, x0_hat in enumerate(estimates)]
    config = SampleConfig(**{"list_length": 2, "num_candidates": 3} | config)
    return sampled_trace(
        steps, lambda x0_hat: x0_hat.clone(), HISTORY, num_items=5, forbidden=forbidden, config=config
    )


def test_every_step_shows_the_nearest_items_and_the_last_one_is_the_list() -> None:
    trace = trace_of(FIRST, FIRST.flip(1))
    assert (trace.kind, trace.num_steps, trace.num_slots, trace.filled_at.tolist()) == (
        "gaussian",
        2,
        1,
        [[1], [1]],
    )
    assert [step.tokens.tolist() for step in trace.steps] == [[[1], [5]], [[5], [1]]]
    assert [step.unmasked.tolist() for step in trace.steps] == [[[False], [False]], [[True], [True]]]
    assert trace.steps[0].candidates[:, 0].tolist() == [[1, 2, 3], [5, 4, 3]]
    assert trace.recommendations().items.tolist() == [[5, 4], [1, 2]]
    share = FIRST[0].softmax(0)
    step = trace.steps[0]
    torch.testing.assert_close(step.candidate_probability[0, 0], share[:3])
    torch.testing.assert_close(step.probability[0, 0], share[0])
    torch.testing.assert_close(step.score[0, 0].float(), share[0])
    torch.testing.assert_close(step.margin[0, 0], share[0] - share[1])
    torch.testing.assert_close(step.entropy[0, 0], -(share * share.log()).sum())


def test_a_forbidden_item_is_no_candidate_and_has_no_share() -> None:
    forbidden = Forbidden(torch.tensor([1, 3, 4, 5]), torch.tensor([0, 3, 4]))
    trace = trace_of(FIRST, forbidden=forbidden)
    assert trace.steps[0].candidates[:, 0].tolist() == [[2, 5, 0], [4, 3, 2]]
    assert float(trace.steps[0].candidate_probability[0].sum()) == pytest.approx(1)


def test_more_candidates_change_nothing_else() -> None:
    few, many = trace_of(FIRST, num_candidates=1), trace_of(FIRST, num_candidates=5)
    assert torch.equal(few.recommendations().items, many.recommendations().items)
    assert torch.equal(few.steps[0].margin, many.steps[0].margin)
    assert many.steps[0].candidates.shape == (2, 1, 5)


def test_fewer_items_than_the_list_is_long_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 recommendations are more than the 1 items left for user 0"):
        trace_of(FIRST, forbidden=Forbidden(torch.tensor([1, 2, 3, 4]), torch.tensor([0, 4, 4])))


@pytest.mark.parametrize("name", ["list_length", "num_steps", "ensemble", "num_candidates"])
def test_a_bad_knob_names_its_range(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        SampleConfig(**{name: 0})
