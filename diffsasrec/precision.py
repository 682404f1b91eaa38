"""In which precision a device trains: the one place that chooses. Weights, losses and optimiser stay in float32.

bf16 where the device multiplies faster in it than in float32: on a CPU that does a step takes .5 to .8 of its time,
and the losses are the same to four digits (docs/log.md); what is judged or decoded is float32 everywhere. Nothing is
compiled: batches have many lengths, and each would be compiled anew.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = ("auto", "float32", "bfloat16")  # of matrix products in training
_CPU_FEATURES = ("amx_bf16", "bf16")  # as x86 and ARM call theirs


def chosen_precision(precision: str, device: torch.device) -> str:
    """Return float32 or bfloat16: what was asked for or, with ``auto``, what is fast on the device."""
    if precision != "auto":
        return precision
    return "bfloat16" if _is_faster_in_bf16(device) else "float32"


def training_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a loss is computed on a device; ``precision`` is one of ``PRECISIONS``.

    Weights are cast anew wherever they are used on a CPU: torch keeps one table of casts for all threads, and a thread
    that is done empties it for the others.
    """
    if chosen_precision(precision, device) == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=device.type != "cpu")
    return nullcontext()


def _is_faster_in_bf16(device: torch.device) -> bool:
    """Say so by what the device is, not by a clock: the same machine always chooses the same.

    AVX-512 alone multiplies bf16 at twice the speed of float32 on AMD and at half of it on Intel, whose speed is in
    AMX (0032), which a virtual machine may not be given.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        features = getattr(torch.cpu, "get_capabilities", dict)()  # torch of before 2026 cannot say
        if any(features.get(name, False) for name in _CPU_FEATURES):
            return True
        return features.get("avx512_bf16", False) and "Intel" not in features.get("cpu_name", "")
    return False
