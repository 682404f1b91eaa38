"""What an embedding diffusion's reverse process shows and recommends: its config, and its steps as a trace.

The trace is that of masked diffusion with a single slot, which the last step fills; before, it holds the item that is
nearest to the estimate of x0 at each noise level. The list is the last step's candidates.
Letters: B users, L history length, N real items, C candidates, D width, S steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch

from diffsasrec.config import to_dict
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.gaussian import SampleStep
from diffsasrec.largest import largest_columns
from diffsasrec.metrics import checked_scores
from diffsasrec.sequences import Forbidden, forbidden_pairs
from diffsasrec.trace import DecodeStep, DecodeTrace
from diffsasrec.vocabulary import PAD_ID, Vocabulary

SAMPLER = "ancestral"  # how names tell these decodings from those of a masked diffusion


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How an embedding diffusion is sampled, and what is kept of it."""

    length_name: ClassVar[str] = "list_length"

    list_length: int = 10  # K, the items nearest to the sample
    num_steps: int | None = None  # S of the model's T noise steps, at equal distances; None is all of them
    ensemble: int = 1  # samples of a user, with noise of their own, whose estimates are averaged
    seed: int = 0
    num_candidates: int = (
        10  # kept per step to look at, at least as many as the list has; changes nothing else
    )

    def __post_init__(self) -> None:
        for name in ("list_length", "num_steps", "ensemble", "num_candidates"):
            if vars(self)[name] is not None and vars(self)[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {vars(self)[name]}")

    @property
    def length(self) -> int:
        """Return K, the length of the list."""
        return self.list_length


Decoding = DecodeConfig | SampleConfig  # whichever a model is decoded by


def sampled_trace(
    steps: Iterable[SampleStep],
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    history: torch.Tensor,
    *,
    num_items: int,
    forbidden: Forbidden | None,
    config: SampleConfig,
) -> DecodeTrace:
    """Return the trace of a reverse process of B users.

    Args:
        steps: from the noise to the sample.
        logits_of: estimates of x0 (B, D) -> scores (B, N) of the items.
        history: (B, L) long, as the model read it.
        forbidden: items that may not be recommended, per user: they are no candidates either.

    Raises:
        ValueError: a user has fewer items left than the list is long, or a score is NaN.
    """
    blocked = forbidden_pairs(forbidden, len(history), num_needed=config.list_length, num_items=num_items)
    user, column = (each.to(history.device) for each in blocked)
    num_kept = min(max(config.list_length, config.num_candidates, 2), num_items)
    seen: list[DecodeStep] = []
    for step in steps:
        logits = checked_scores(logits_of(step.x0_hat))
        logits[user, column] = -math.inf
        seen.append(_decode_step(logits, num_kept=num_kept))
    seen[-1] = dataclasses.replace(seen[-1], unmasked=torch.ones_like(seen[-1].unmasked))
    return DecodeTrace(
        history=history,
        config=to_dict(config),
        steps=tuple(seen),
        filled_at=history.new_full((len(history), 1), len(seen) - 1),
        kind="gaussian",
    )


def _decode_step(logits: torch.Tensor, *, num_kept: int) -> DecodeStep:
    """Return what a step shows of the scores (B, N), -inf where forbidden."""
    best, column = largest_columns(logits, num_kept)
    items = Vocabulary.to_token(column).where(best > -math.inf, PAD_ID)
    share = logits.double().softmax(dim=1)
    own = share.gather(1, column)
    never = torch.zeros_like(items[:, :1], dtype=torch.bool)
    return DecodeStep(
        tokens=items[:, :1],
        unmasked=never,
        remasked=never,
        probability=own[:, :1].float(),
        score=own[:, :1],
        entropy=torch.special.entr(share).sum(dim=1, keepdim=True).float(),
        margin=(
            own[:, :1] - own[:, 1:2].sum(dim=1, keepdim=True)
        ).float(),  # of a catalogue of one item: all of it
        candidates=items[:, None],
        candidate_probability=own[:, None].float(),
    )
