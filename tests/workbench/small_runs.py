"""The recipe that the tests of runs train in a moment."""

from __future__ import annotations

from workbench.recipes import recipe


def tiny(world, model="sasrec", **changes):
    return recipe("circle", model, **{**world.settings, **changes})
