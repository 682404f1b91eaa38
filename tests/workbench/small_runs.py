"""The recipe that the tests of runs train in a moment, and a run that nobody trained."""

from __future__ import annotations

from workbench import provenance
from workbench.recipes import recipe
from workbench.runs import Run


def tiny(world, model="sasrec", **changes):
    return recipe("circle", model, **{**world.settings, **changes})


def manifest(**changes):
    content = {
        "config": {"dataset": "toy", "model": "sasrec", "split": {"name": "leave_one_out"}},
        "dataset": {"name": "toy", "fingerprint": "0" * 16},
        "seed": 0,
        "status": "done",
        "source_hash": provenance.source_hash(),
        "created": "2030-01-01T00:00:00+00:00",
    }
    return content | changes


def make_run(folder, recipe="toy-sasrec", key="0123456789abcdef", **changes):
    return Run.create(folder, recipe, key, manifest(**changes))
