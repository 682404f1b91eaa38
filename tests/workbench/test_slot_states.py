"""Every state of a slot has a glyph of its own and words, so that colour is never all that tells."""

from __future__ import annotations

from diffsasrec.trace import SLOT_STATES
from workbench.slot_states import NOISE, STATE_GLYPHS, STATE_MEANINGS


def test_every_state_has_a_glyph_of_its_own() -> None:
    assert set(STATE_GLYPHS) == {*SLOT_STATES, NOISE}
    assert len(set(STATE_GLYPHS.values())) == len(STATE_GLYPHS)


def test_every_state_of_a_trace_is_explained() -> None:
    assert set(STATE_MEANINGS) == set(SLOT_STATES)
    assert all(meaning.startswith(name) for name, meaning in STATE_MEANINGS.items())
