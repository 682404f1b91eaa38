"""The straightforward form of decoding, as the published code has it: what ours is compared with.

Its semantics are ours (a threshold of each user's own, PAD hidden, no item twice, none that was seen), so that both
must give the same lists. Its form is the published one: every step reads history and slots anew, computes the logits
and the softmax of every position, hides seen items in a loop over users, and goes on for the whole batch until its
last user is done.

Letters: B users, L history length, K slots, N real items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from diffsasrec.backbone import Transformer
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.vocabulary import Vocabulary


@torch.no_grad()
def decode_steps(
    transformer: Transformer, history: torch.Tensor, *, seen: Sequence[Sequence[int]], config: DecodeConfig
) -> Iterator[torch.Tensor]:
    """Yield the slots (B, K) long after every step, by ``threshold_decay``.

    Args:
        history: (B, L) long, left-padded.
        seen: the columns that may not be recommended to each user.
    """
    num_users, num_slots = len(history), config.num_slots
    mask_id = Vocabulary.mask_id_of(transformer.num_items)
    slots = history.new_full((num_users, num_slots), mask_id)
    for step in range(min(config.max_steps, num_slots)):
        logits = transformer.item_logits(transformer(torch.cat([history, slots], dim=1)))  # (B, L + K, N)
        for user in range(num_users):
            in_slots = [Vocabulary.to_column(token) for token in slots[user].tolist() if token != mask_id]
            logits[user, :, [*seen[user], *in_slots]] = -torch.inf
        probability = logits.softmax(dim=-1)[:, -num_slots:]  # (B, K, N)
        is_last = step + 1 == min(config.max_steps, num_slots)
        for user in range(num_users):
            _fill(probability[user], slots[user], mask_id, config, is_last=is_last)
        yield slots.clone()
        if not (slots == mask_id).any():
            return


def _fill(
    probability: torch.Tensor,
    slots: torch.Tensor,
    mask_id: int,
    config: DecodeConfig,
    *,
    is_last: bool,
) -> None:
    """Fill the slots (K,) of one user that reach the threshold, which is lowered until one does."""
    is_open = slots == mask_id
    threshold, filled = config.threshold, False
    while is_open.any():
        best, column = probability.max(dim=-1)
        best = best.masked_fill(~is_open, -1)
        slot = int(best.argmax())
        while not (filled or is_last or best[slot] >= threshold):
            threshold *= config.decay
        if not (is_last or best[slot] >= threshold):
            return
        slots[slot] = Vocabulary.to_token(int(column[slot]))
        probability[:, column[slot]] = 0
        is_open[slot], filled = False, True
