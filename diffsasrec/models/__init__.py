"""The models, by name. A family is a file; families never import each other."""

from __future__ import annotations

from typing import Any

import torch

from diffsasrec.config import from_dict, unknown_name
from diffsasrec.models.adrec import ADRec, ADRecConfig
from diffsasrec.models.base import SequentialModel
from diffsasrec.models.baselines import (
    Ease,
    EaseModelConfig,
    Markov,
    MarkovConfig,
    Popularity,
    PopularityConfig,
    Random,
    RandomConfig,
    TransitionsConfig,
)
from diffsasrec.models.block_diffusion import BlockDiffusion, BlockDiffusionConfig
from diffsasrec.models.diffurec import DiffuRec, DiffuRecConfig, DiffuRecSysV1Config, DiffuRecSysV2Config
from diffsasrec.models.gru4rec import GRU4Rec, GRU4RecConfig
from diffsasrec.models.masked import BERT4RecConfig, DiffSASRec, DiffSASRecConfig
from diffsasrec.models.sasrec import SASRec, SASRecConfig

MODELS: dict[str, tuple[type, type[SequentialModel]]] = {
    "random": (RandomConfig, Random),
    "popularity": (PopularityConfig, Popularity),
    "markov": (MarkovConfig, Markov),
    "transitions": (TransitionsConfig, Popularity),
    "ease": (EaseModelConfig, Ease),
    "gru4rec": (GRU4RecConfig, GRU4Rec),
    "sasrec": (SASRecConfig, SASRec),
    "diffsasrec": (DiffSASRecConfig, DiffSASRec),
    "bert4rec": (BERT4RecConfig, DiffSASRec),
    "block_diffusion": (BlockDiffusionConfig, BlockDiffusion),
    "diffurec": (DiffuRecConfig, DiffuRec),
    "diffurecsys_v1": (DiffuRecSysV1Config, DiffuRec),
    "diffurecsys_v2": (DiffuRecSysV2Config, DiffuRec),
    "adrec": (ADRecConfig, ADRec),
}


def build_model(
    name: str, config: Any, num_items: int, *, seed: int = 0, item_features: torch.Tensor | None = None
) -> SequentialModel:
    """Return a fresh model whose weights depend on ``seed`` alone; ``config`` is the dataclass or a dict of it.

    ``item_features`` (N, F) bool is for models whose config asks for them; others do without.

    Raises:
        ValueError: an unknown name or parameter, with the nearest one named; features that are missing.
    """
    if not isinstance(name, str) or name not in MODELS:
        raise unknown_name("model", name, MODELS)
    config_class, model_class = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        own_config = config if isinstance(config, config_class) else from_dict(config_class, config)
        model = model_class(own_config, num_items)
        if getattr(own_config, "item_features", False):
            if item_features is None:
                raise ValueError(
                    "item_features=True needs items with categories: set it to false for this data set"
                )
            model.set_item_features(item_features)
        return model
