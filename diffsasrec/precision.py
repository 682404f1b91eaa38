"""In which precision a device trains: the one place that chooses. Weights, losses and optimiser stay in float32.

bf16 where the device has its products in hardware: on a CPU that does a step takes .5 to .8 of its time, and the
losses are the same to four digits (docs/log.md); what is judged or decoded is float32 everywhere. Nothing is compiled:
batches have many lengths, and each would be compiled anew.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = ("auto", "float32", "bfloat16")  # of matrix products in training
_CPU_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")  # as x86 and ARM call theirs


def chosen_precision(precision: str, device: torch.device) -> str:
    """Return float32 or bfloat16: what was asked for or, with ``auto``, what is fast on the device."""
    if precision != "auto":
        return precision
    return "bfloat16" if _has_bf16(device) else "float32"


def training_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a loss is computed on a device; ``precision`` is one of ``PRECISIONS``.

    Weights are cast anew wherever they are used on a CPU: torch keeps one table of casts for all threads, and a thread
    that is done empties it for the others.
    """
    if chosen_precision(precision, device) == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=device.type != "cpu")
    return nullcontext()


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        features = getattr(torch.cpu, "get_capabilities", dict)()  # torch of before 2026 cannot say
        return any(features.get(name, False) for name in _CPU_FEATURES)
    return False
