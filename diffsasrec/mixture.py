"""What is mixed into a network's ranking after training: counted transitions, and a linear autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffsasrec.linear_autoencoder import EaseConfig, LinearAutoencoder
from diffsasrec.transitions import TransitionConfig, Transitions


@dataclass(frozen=True, kw_only=True)
class MixtureConfig(TransitionConfig, EaseConfig):
    """What the config of a model has that both can be mixed into."""

    def __post_init__(self) -> None:
        TransitionConfig.__post_init__(self)
        EaseConfig.__post_init__(self)


def mixed_in(config: Any, num_items: int) -> tuple[Transitions | None, LinearAutoencoder | None]:
    """Return what a config asks for, None for the rest; errors as ``LinearAutoencoder``."""
    if not isinstance(config, MixtureConfig):
        return None, None
    transitions = Transitions(config, num_items) if config.transition_share > 0 else None
    ease = None
    if config.ease_power > 0:
        ease = LinearAutoencoder(num_items, ridge=config.ease_ridge, power=config.ease_power)
    return transitions, ease
