"""One step of training: from the losses of a batch's parts to other weights.

When to stop, what to keep and what to write is decided in ``training``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from diffsasrec.learning_rate import SCHEDULES
from diffsasrec.metrics import NotANumberError
from diffsasrec.models.base import SequentialModel
from diffsasrec.ranks import Ranks
from diffsasrec.side_by_side import Workers
from diffsasrec.training_records import TrainConfig

LossOf = Callable[[], torch.Tensor]  # computes the loss of a part of a batch, with its graph
_AVERAGE = "average"  # in the state


class Descent:
    """AdamW on the weights that a stage trains, the same in all ranks, with clipped gradients.

    The learning rate, the config's or another, warms up linearly, times the factor of the config's schedule.

    With ``average_decay`` it keeps a moving average of the weights as well, which begins with the first ones: step n
    of a stage counts for 1 - (1 + n) / (10 + n) of it, until that is less than 1 - decay.
    """

    def __init__(
        self,
        model: SequentialModel,
        config: TrainConfig,
        *,
        learning_rate: float | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.config, self.ranks = config, ranks or Ranks()
        self.learning_rate = learning_rate or config.learning_rate
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=self.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._schedule = SCHEDULES[config.learning_rate_schedule]
        self._average = (
            [weight.detach().clone() for weight in self._parameters] if config.average_decay else []
        )

    def step(
        self,
        losses: Iterable[LossOf],
        *,
        num_before: int,
        progress: float = 0.0,
        workers: Workers | None = None,
    ) -> float:
        """Make one step down the gradient, the first of a stage with ``num_before`` = 0; return the loss.

        ``losses`` are of the parts of a batch, with several ranks of this one's: the loss returned and the gradient are
        the sums over all, in the order of the parts whoever computes them. A worker holds the graph of one part alone;
        without ``workers`` the caller computes them. ``progress`` is the share of the stage that is over: the schedule
        goes by it.

        Raises:
            NotANumberError: the loss or its gradient is NaN or infinite; the weights are as before.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(num_before, progress)
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(1, device=self._parameters[0].device)
        for loss, gradients in (workers or Workers()).in_order(self._gradients, losses):
            total += loss
            self._add(gradients)
            del loss, gradients  # before the next is waited for
        value = self.ranks.add_up(total, self._parameters).item()
        if not math.isfinite(value):
            raise NotANumberError("loss")
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.clip_norm)
        if not math.isfinite(norm):
            raise NotANumberError("gradient")
        self._optimizer.step()
        if self._average:
            decay = min(self.config.average_decay, (1 + num_before) / (10 + num_before))
            for average, weight in zip(self._average, self._parameters, strict=True):
                average.lerp_(weight.detach(), 1 - decay)
        return value

    def _add(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Add a part's gradients to those of the step, each laid out as its parameter."""
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            if gradient is None:
                continue
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter).copy_(gradient)
            else:
                parameter.grad += gradient

    def _gradients(self, loss_of: LossOf) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
        """Return a loss and its gradient by every parameter, None where it does not depend on one."""
        loss = loss_of()
        return loss.detach(), torch.autograd.grad(loss, self._parameters, allow_unused=True)

    def _learning_rate(self, num_before: int, progress: float) -> float:
        config = self.config
        warmth = min(1.0, (num_before + 1) / max(1, config.warmup_steps))
        factor = self._schedule(progress, decay_at=config.decay_at, decay_factor=config.decay_factor)
        return self.learning_rate * warmth * factor

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model have the averaged weights meanwhile; without an average, its own."""
        if not self._average:
            yield
            return
        own = [weight.detach().clone() for weight in self._parameters]
        _copy(self._average, self._parameters)
        try:
            yield
        finally:
            _copy(own, self._parameters)

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` goes on from."""
        state = self._optimizer.state_dict()
        return {**state, _AVERAGE: self._average} if self._average else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another descent stood."""
        optimizer = {name: value for name, value in state.items() if name != _AVERAGE}
        self._optimizer.load_state_dict(optimizer)
        if self._average:
            _copy(state[_AVERAGE], self._average)


@torch.no_grad()
def _copy(values: Sequence[torch.Tensor], places: Sequence[torch.Tensor]) -> None:
    for value, place in zip(values, places, strict=True):
        place.copy_(value)
