"""What is mixed in: by the config alone, and both after each other."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.mixture import MixtureConfig, mixed_in
from diffsasrec.models import build_model
from diffsasrec.splits import Split


@pytest.mark.parametrize(("transition_share", "ease_power"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.5), (0.3, 0.5)])
def test_nothing_is_mixed_in_but_what_the_config_asks_for(transition_share: float, ease_power: float) -> None:
    config = MixtureConfig(transition_share=transition_share, ease_power=ease_power)
    transitions, ease = mixed_in(config, 5)
    assert (transitions is not None) == (transition_share > 0)
    assert (ease is not None) == (ease_power > 0)
    assert mixed_in(object(), 5) == (None, None)


@pytest.mark.parametrize("wrong", [{"transition_share": 1.0}, {"ease_power": -1.0}])
def test_both_halves_of_the_config_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MixtureConfig(**wrong)


def test_a_ranking_is_of_the_counts_first_and_then_weighed(cycle_split: Split) -> None:
    config = {"max_length": 8, "width": 8, "transition_share": 0.4, "ease_power": 0.7}
    model = build_model("sasrec", config, cycle_split.interactions.num_items).eval()
    model.count(cycle_split)
    history = torch.tensor([[0, 0, 1, 2], [3, 4, 5, 6]])
    own = model.next_item_logits(history)
    assert model.transitions is not None
    assert model.ease is not None
    expected = model.ease.mixed(model.transitions.mixed(own, history), history)
    found = model.seeded_logits(history, user_seeds=torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, own.log_softmax(1), atol=1e-3)
