"""How the states of a slot look and read wherever a decode is shown: in figures, on the board, in a replay."""

from __future__ import annotations

NOISE = "noise"  # what an embedding diffusion starts from: its place is no masked slot
STATE_GLYPHS = {"masked": "□", "new": "●", "kept": "■", "emptied": "↺", "changed": "⇄", NOISE: "░"}
STATE_MEANINGS = {
    "masked": "masked: still open",
    "new": "new: filled in this step",
    "kept": "kept: filled earlier",
    "emptied": "emptied again",
    "changed": "changed: another item than before",
}
SAMPLE_STATES = {  # of an embedding diffusion's nearest item, which has no legend
    NOISE: "noise",
    "new": "nearest item",
    "kept": "nearest as before",
    "changed": "nearest now",
}
