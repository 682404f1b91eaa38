"""One step of training: from a loss to other weights. The only file that calls backward.

When to stop, what to keep and what to write is decided in ``training``.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from diffsasrec.metrics import NotANumberError
from diffsasrec.models.base import SequentialModel
from diffsasrec.ranks import Ranks
from diffsasrec.training_records import TrainConfig


class Descent:
    """AdamW with a linear warm-up and clipped gradients, on the weights that a stage trains; the same in all ranks."""

    def __init__(self, model: SequentialModel, config: TrainConfig, *, ranks: Ranks | None = None) -> None:
        self.model, self.config, self.ranks = model, config, ranks or Ranks()
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def step(self, loss: torch.Tensor, *, num_before: int) -> float:
        """Make one step down the gradient, the first of a stage with ``num_before`` = 0; return the loss.

        With several ranks ``loss`` is this one's part; the loss returned and the gradient are the sums over all.

        Raises:
            NotANumberError: the loss or its gradient is NaN or infinite; the weights are as before.
        """
        warmth = min(1.0, (num_before + 1) / max(1, self.config.warmup_steps))
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * warmth
        self._optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:  # a rank without a row has nothing to add
            loss.backward()
        value = self.ranks.add_up(loss.detach()[None], self._parameters).item()
        if not math.isfinite(value):
            raise NotANumberError("loss")
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.clip_norm)
        if not math.isfinite(norm):
            raise NotANumberError("gradient")
        self._optimizer.step()
        return value

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` goes on from."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another descent stood."""
        self._optimizer.load_state_dict(state)
