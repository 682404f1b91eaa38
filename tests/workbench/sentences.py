"""What people are told when a command cannot do what it was asked."""

from __future__ import annotations


def is_one_sentence(called):
    lines = called.err.strip().splitlines()
    return len(lines) == 1 and lines[0].startswith("workbench: ") and "Traceback" not in called.err
