"""In which precision a device trains: the one place that chooses. Weights, losses and optimiser stay in float32.

A CPU trains in fp32: bf16 gains a tenth of a step on one that has it in hardware, and loses on others (docs/log.md).
A GPU that has bf16 uses it; that choice was made without one at hand. Nothing is compiled: batches have many lengths,
and each would be compiled anew.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def training_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a loss is computed on a device."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
