"""A list by asking again and again for the next item: what an autoregressive model does for K items.

Letters: B users, L history length, K length of the list, N real items.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch

from diffsasrec.metrics import checked_scores
from diffsasrec.trace import Recommendations
from diffsasrec.vocabulary import Vocabulary


class NextLogits(Protocol):
    """Scores (B, N) of the item after each history (B, L), where ``num_left`` more will be appended, it among them."""

    def __call__(self, history: torch.Tensor, *, num_left: int) -> torch.Tensor: ...


def one_after_the_other(
    next_logits: NextLogits,
    history: torch.Tensor,
    *,
    num_items: int,
    num_recommendations: int,
    blocked: tuple[torch.Tensor, torch.Tensor],
) -> Recommendations:
    """Predict an item, append it, and again: K passes; ``scores`` are the probabilities at each pass.

    ``blocked`` are the users and columns of what may not come.
    """
    chosen, probabilities = [], []
    user = torch.arange(len(history), device=history.device)
    is_blocked = torch.zeros(len(history), num_items, dtype=torch.bool, device=history.device)
    is_blocked[blocked] = True
    for num_left in range(num_recommendations, 0, -1):
        logits = checked_scores(next_logits(history, num_left=num_left))
        probability, column = logits.masked_fill(is_blocked, -math.inf).softmax(dim=1).max(dim=1)
        chosen.append(Vocabulary.to_token(column))
        probabilities.append(probability)
        is_blocked[user, column] = True
        history = torch.cat([history, chosen[-1][:, None]], dim=1)
    return Recommendations(torch.stack(chosen, dim=1), torch.stack(probabilities, dim=1))
