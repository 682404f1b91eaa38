"""Recommending by the first look at K masked slots, without decoding them.

Letters: B users, K slots, N real items.
"""

from __future__ import annotations

import math

import torch

from diffsasrec.decode_config import DecodeConfig
from diffsasrec.largest import largest_columns
from diffsasrec.pins import starting_slots
from diffsasrec.reading import NOT_ALLOWED, LogitsOf, SlotReader
from diffsasrec.sequences import Forbidden
from diffsasrec.slot_predictor import SlotPredictor
from diffsasrec.trace import Recommendations
from diffsasrec.vocabulary import Vocabulary


@torch.no_grad()
def any_slot(
    model: LogitsOf | SlotReader,
    history: torch.Tensor,
    *,
    num_items: int,
    num_slots: int,
    forbidden: Forbidden | None = None,
) -> Recommendations:
    """Return the K items of the catalogue that are likeliest to be in any of K masked slots: one pass, no decoding.

    The score is 1 - prod over slots of (1 - p_slot(item)), over the items that are not forbidden.
    """
    config = DecodeConfig(num_slots=num_slots)
    predictor = SlotPredictor.of(
        model,
        history,
        num_items=num_items,
        forbidden=forbidden,
        user_seeds=None,
        config=config,
    )
    tokens, masked = starting_slots(predictor, None)
    users = torch.arange(len(history), device=history.device)
    items, scores = [], []
    for rows in predictor.rows(users, tokens, masked, step=0, keeps_own=False):
        logits = rows.logits.unflatten(0, (-1, num_slots))  # (users, K, N)
        in_none = torch.log1p(-logits.softmax(dim=-1).double()).sum(dim=1)  # (users, N)
        score = (-torch.expm1(in_none)).masked_fill(logits[:, 0] <= NOT_ALLOWED / 2, -math.inf)
        best, column = largest_columns(score, num_slots)
        items.append(Vocabulary.to_token(column))
        scores.append(best.float())
    return Recommendations(torch.cat(items), torch.cat(scores))
