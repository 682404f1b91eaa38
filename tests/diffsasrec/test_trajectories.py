"""Recorded trajectories: loss and gradient norm of 50 steps per trainable model, so that a refactor proves itself.

A change of the reference needs a sentence in the commit message. It is recorded by
``pytest -m slow tests/diffsasrec/test_trajectories.py --record-trajectories``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from diffsasrec.models import MODELS, build_model
from diffsasrec.splits import Split
from diffsasrec.training_batches import TrainingBatches

RECORD = Path(__file__).with_name("trajectories.json")
NUM_STEPS = 50
SMALL = {"max_length": 12, "width": 16, "num_blocks": 2, "num_heads": 2, "dropout": 0.1}
# name in the record -> model, config, objective
EMBEDDED = SMALL | {"num_noise_steps": 8}
CASES = {
    "gru4rec": ("gru4rec", {"max_length": 12, "width": 16, "num_layers": 2, "dropout": 0.1}, "pretrain"),
    "sasrec": ("sasrec", SMALL, "pretrain"),
    "sasrec-bce": ("sasrec", SMALL | {"loss": "bce"}, "pretrain"),
    "sasrec-sampled-softmax": (
        "sasrec",
        SMALL | {"loss": "sampled_softmax", "num_negatives": 16},
        "pretrain",
    ),
    "sasrec-gbce": ("sasrec", SMALL | {"loss": "gbce", "num_negatives": 16}, "pretrain"),
    "diffsasrec": ("diffsasrec", SMALL | {"fine_tune_slots": 4}, "pretrain"),
    "diffsasrec-fine-tune": ("diffsasrec", SMALL | {"fine_tune_slots": 4}, "fine_tune"),
    "bert4rec": ("bert4rec", SMALL | {"fine_tune_slots": 4}, "pretrain"),
    "diffsasrec-variants": (
        "diffsasrec",
        SMALL
        | {"fine_tune_slots": 4, "suffix_share": 0.5, "random_lengths": 0.5, "condition_on_time": True}
        | {"times": "independent", "weighting": "clipped", "positions": "rotary"},
        "pretrain",
    ),
    "diffurec": ("diffurec", EMBEDDED, "pretrain"),
    "diffurecsys_v1": ("diffurecsys_v1", EMBEDDED, "pretrain"),
    "diffurecsys_v2": ("diffurecsys_v2", EMBEDDED | {"num_prefixes": 2}, "pretrain"),
    "diffurecsys_v2-per-sample": ("diffurecsys_v2", EMBEDDED | {"offset": "per_sample"}, "pretrain"),
    "adrec": ("adrec", EMBEDDED, "denoise"),
    "adrec-pretrain": ("adrec", EMBEDDED, "pretrain"),
    "adrec-pcgrad": (
        "adrec",
        EMBEDDED | {"denoiser": "mlp", "pcgrad": True, "drop_condition": 0.3},
        "denoise",
    ),
    "block_diffusion": ("block_diffusion", SMALL | {"block_size": 5}, "pretrain"),
}


def trajectory(case: str, split: Split) -> dict[str, list[float]]:
    """Return loss and gradient norm of every step, to six digits."""
    name, config, objective = CASES[case]
    torch.manual_seed(0)
    model = build_model(name, config, split.interactions.num_items)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batches = TrainingBatches(split, window=model.window, batch_size=16, seed=0)
    found: dict[str, list[float]] = {"loss": [], "gradient_norm": []}
    for epoch in range(NUM_STEPS):
        for batch in batches.epoch(epoch):
            loss = model.objectives()[objective](batch, generator=generator).value
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
            optimizer.step()
            found["loss"].append(float(f"{loss.item():.6g}"))
            found["gradient_norm"].append(float(f"{norm.item():.6g}"))
            if len(found["loss"]) == NUM_STEPS:
                return found
    raise AssertionError("an epoch without a batch")


def test_every_trainable_model_is_recorded() -> None:
    assert {name for name, _, _ in CASES.values()} == {
        name for name, (_, model_class) in MODELS.items() if model_class.trainable
    }
    assert set(json.loads(RECORD.read_text(encoding="utf-8"))) == set(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_model_follows_its_recorded_trajectory(case: str, cycle_split: Split, request) -> None:
    found = trajectory(case, cycle_split)
    if request.config.getoption("--record-trajectories"):
        record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
        record[case] = found
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    expected = json.loads(RECORD.read_text(encoding="utf-8"))[case]
    for name, values in found.items():
        assert values == pytest.approx(expected[name], rel=2e-3), name
