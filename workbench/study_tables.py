"""Outcomes of a decoding study as tables, comparisons on the same users, and words.

Pure functions: nothing is decoded, written or drawn here. Settings are chosen on one part and judged on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffsasrec.calibration import Reliability, Statements, fitted_temperature, reliability
from diffsasrec.config import unknown_name
from diffsasrec.decode_analysis import FATES
from diffsasrec.metrics import bootstrap_interval
from workbench.decoding_study import Outcome
from workbench.tables import SURE, holm, mean_difference

FIGURES = (
    "HR@10",
    "NDCG@10",
    "SetRecall@10",
    "SetNDCG@10",
    "SlotAccuracy@10",
    "OrderedMatch@10",
    "Diversity@10",
)  # that a study compares, where lists are long enough and the split holds out several items
MEANING = {
    "HR": "the next item is in the list",
    "NDCG": "the next item stands early in the list",
    "SetRecall": "how many of the next items are in the list",
    "SetNDCG": "how early the next items stand in the list",
    "SlotAccuracy": "items in their very places",
    "OrderedMatch": "items in their order",
    "Diversity": "how little the categories of a list have in common",
}


def figures_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the figures of ``FIGURES`` that every outcome has, at the length of the shortest list."""
    lengths = [len(each.arrays["tokens"][0]) for each in outcomes if each.arrays] or [10]
    names = [name.partition("@")[0] for name in FIGURES]
    longest = max((k for k in (1, 5, 10) if k <= min(lengths)), default=1)
    every = set.intersection(*({*values} for each in outcomes for values in each.values.values()))
    return [f"{name}@{longest}" for name in names if f"{name}@{longest}" in every]


def study_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return a row per setting and order of its list: passes, users per second, figures with 95 % intervals."""
    names, rows = figures_of(outcomes), []
    for outcome in outcomes:
        for ranking, values in outcome.values.items():
            row: dict[str, Any] = {
                "setting": outcome.setting.name,
                "system": outcome.setting.system,
                "way": outcome.setting.way,
                "rule": outcome.setting.decode.rule if outcome.setting.decode else outcome.setting.way,
                "ranked by": ranking if outcome.setting.decode else "",
                "passes": _passes(outcome, ranking),
                "users/s": len(outcome.rows) / max(outcome.seconds, 1e-9),
            }
            for name in names:
                row |= _with_bounds(name, values[name])
            k = names[0].partition("@")[2]
            row[f"Coverage@{k}"] = outcome.shares[ranking].get(f"Coverage@{k}")
            rows.append(row)
    return pd.DataFrame(rows)


def process_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return a row per decoding: how it goes about it. Fates are those of the next item, in shares of all users.

    Duplicates are per user and decode; regretted is the share of commits that the final list would not make again;
    ECE is the expected calibration error of all commits, as they were said.
    """
    rows = []
    for outcome in (each for each in outcomes if each.arrays):
        arrays = outcome.arrays
        told = {
            "first slot surest": arrays["probability"].argmax(axis=1) == 0,
            "steps": arrays["filled_at"].max(axis=1) + 1,
            "duplicates": arrays["duplicates"],
            **{fate: arrays["fate"] == code for code, fate in enumerate(FATES)},
        }
        if "regret" in arrays:
            told["regretted"] = arrays["regret"].mean(axis=1)
        row = {"setting": outcome.setting.name}
        for name, values in told.items():
            row |= _with_bounds(name, values.astype(np.float64))
        found = reliability_at(outcome, 1.0)
        low, high = found.interval()
        rows.append(row | {"ECE": found.expected_error(), "ECE low": low, "ECE high": high})
    return pd.DataFrame(rows)


def slots_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return a row per decoding and slot: its mean place in the order of filling, hits, regrets; slots from 1."""
    rows = []
    for outcome in (each for each in outcomes if each.arrays):
        hit, arrays = _is_hit(outcome), outcome.arrays
        for slot in range(hit.shape[1]):
            row = {
                "setting": outcome.setting.name,
                "slot": slot + 1,
                "place": arrays["place"][:, slot].mean(),
            }
            row |= _with_bounds("hits", hit[:, slot].astype(np.float64))
            row["confidence"] = float(arrays["probability"][:, slot].mean())
            if "regret" in arrays:
                row["regretted"] = float(arrays["regret"][:, slot].mean())
            rows.append(row)
    return pd.DataFrame(rows)


def steps_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return a row per decoding and step: commits and hits among them, mean entropy of the slots that were open, and
    the share of users whose next item stood best in that step without getting into the list; steps from 1."""
    rows = []
    for outcome in (each for each in outcomes if each.arrays):
        arrays, hit = outcome.arrays, _is_hit(outcome)
        is_lost = arrays["fate"] != FATES.index("listed")
        for step in range(arrays["entropy"].shape[1]):
            entropy = arrays["entropy"][:, step]
            here = arrays["filled_at"] == step
            if not here.any() and np.isnan(entropy).all():
                continue
            rows.append(
                {
                    "setting": outcome.setting.name,
                    "step": step + 1,
                    "commits": int(here.sum()),
                    "hits": float(hit[here].mean()) if here.any() else np.nan,
                    "entropy": float(np.nanmean(entropy)) if not np.isnan(entropy).all() else np.nan,
                    "truth best and lost": float((is_lost & (arrays["truth_step"] == step)).mean()),
                }
            )
    return pd.DataFrame(rows)


def calibration_table(fitted_on: Sequence[Outcome], judged_on: Sequence[Outcome]) -> pd.DataFrame:
    """Return a row per decoding that both parts have, for all slots and for each: the temperature that the first part
    gives, and the expected calibration error on the second before and after it.

    A statement is a slot's item, true where it is one of as many next items.
    """
    by_name, rows = {each.setting.name: each for each in fitted_on if each.arrays}, []
    for outcome in (each for each in judged_on if each.setting.name in by_name):
        for slot in (None, *range(_num_slots(outcome))):
            temperature = fitted_temperature(_statements(by_name[outcome.setting.name], slot))
            row = {"setting": outcome.setting.name, "slot": "all" if slot is None else slot + 1}
            row["temperature"] = temperature
            for name, value in (("before", 1.0), ("after", temperature)):
                found = reliability_at(outcome, value, slot=slot)
                low, high = found.interval()
                error = found.expected_error()
                row |= {f"ECE {name}": error, f"ECE {name} low": low, f"ECE {name} high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def reliability_at(outcome: Outcome, temperature: float, *, slot: int | None = None) -> Reliability:
    """Return the reliability of what was committed, said at another temperature; of one slot where one is given."""
    said = _statements(outcome, slot)
    shape = (len(outcome.rows), -1)
    return reliability(said.at(temperature).reshape(shape), said.is_hit.reshape(shape).astype(bool))


def rankings_table(outcomes: Sequence[Outcome], *, figure: str) -> pd.DataFrame:
    """Return a row per decoding and pair of orders: what the second order gains over the first on the same users."""
    rows = []
    for outcome in (each for each in outcomes if each.arrays):
        orders = [name for name in ("confidence", "slot", "rescored") if name in outcome.values]
        pairs = [(one, other) for place, one in enumerate(orders) for other in orders[place + 1 :]]
        for first, second in pairs:
            gain = outcome.values[second][figure] - outcome.values[first][figure]
            found = mean_difference(gain)
            rows.append({"setting": outcome.setting.name, "first": first, "second": second, **found})
    table = pd.DataFrame(rows)
    return table.assign(**{"p corrected": holm(table["p"].to_numpy())}) if len(table) else table


def best_decodings(outcomes: Sequence[Outcome], figures: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return, for each figure, the decoding and the order of its list that are best of all.

    Raises:
        ValueError: nothing was decoded, or an unknown figure.
    """
    if not any(each.arrays for each in outcomes):
        raise ValueError("no outcome is of a decode: add a decoding to the study")
    table = study_table(outcomes)
    table = table[table["way"] == "diffusion"]
    for figure in figures:
        if figure not in table:
            raise unknown_name("figure", figure, figures_of(outcomes))
    best = {figure: table.loc[table[figure].idxmax()] for figure in figures}
    return {figure: (row["setting"], row["ranked by"]) for figure, row in best.items()}


def claims(
    chosen: dict[str, tuple[str, str]], outcomes: Sequence[Outcome], *, others: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return a row per figure and competitor: by how much the chosen decoding exceeds it on the same users.

    ``p corrected`` is Holm's over all rows; ``verdict`` is *wins*, *loses*, or *undecided* where chance could have
    done it.

    Args:
        chosen: for each figure a decoding and its order, chosen on another part.
        outcomes: of this part, of the chosen decodings and of lists that were not decoded.
        others: the competitors by name; every list that was not decoded by default.

    Raises:
        ValueError: outcomes of different users.
    """
    by_name, rows = {each.setting.name: each for each in outcomes}, []
    others = [each.setting.name for each in outcomes if not each.arrays] if others is None else others
    for figure, (setting, ranking) in chosen.items():
        own = by_name[setting].values[ranking][figure]
        for other in others:
            competitor = by_name[other]
            if not np.array_equal(competitor.rows, by_name[setting].rows):
                raise ValueError(
                    f"{setting} and {other} were judged on different users: give both one max_users"
                )
            (values,) = competitor.values.values()
            known = ~np.isnan(own) & ~np.isnan(values[figure])
            row = {"figure": figure, "decoding": setting, "ranked by": ranking, "competitor": other}
            row |= {"own": float(own[known].mean()), "other": float(values[figure][known].mean())}
            rows.append(row | mean_difference((own - values[figure])[known]))
    table = pd.DataFrame(rows)
    table["p corrected"] = holm(table["p"].to_numpy())
    is_sure = table["p corrected"] < SURE
    table["verdict"] = np.where(~is_sure, "undecided", np.where(table["difference"] > 0, "wins", "loses"))
    return table


def claims_in_words(table: pd.DataFrame, *, part: str, chosen_on: str, num_users: int) -> str:
    """Say where decoding wins over every competitor, where over some, and where it does not, with intervals."""
    chosen = "this very part, which flatters them" if chosen_on == part else f"the {chosen_on} part"
    words = [
        f"Settings were chosen on {chosen}; the {part} part has {num_users:,} users, differences are on "
        f"the same users with 95 % intervals, corrected for {len(table)} comparisons."
    ]
    ways = table["competitor"].str.partition(" ")[2]
    if not (ways == "autoregressive").any():
        words.append("No autoregressive model was given to compare with.")
    for figure, rows in table.groupby("figure", sort=False):
        verdicts = set(rows["verdict"])
        summary = (
            "decoding wins over all"
            if verdicts == {"wins"}
            else "decoding loses to all"
            if verdicts == {"loses"}
            else "decoding does not win"
            if "wins" not in verdicts
            else f"decoding wins over {', '.join(rows.loc[rows['verdict'] == 'wins', 'competitor'])} alone"
        )
        first = rows.iloc[0]
        against = "; ".join(
            f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}] against {row['competitor']} "
            f"({row['verdict']})"
            for _, row in rows.iterrows()
        )
        meaning = MEANING[str(figure).partition("@")[0]]
        words.append(
            f"{figure} ({meaning}): {summary}. {first['decoding']} by {first['ranked by']} reaches "
            f"{first['own']:.4f}: {against}."
        )
    return " ".join(words)


def _num_slots(outcome: Outcome) -> int:
    return outcome.arrays["tokens"].shape[1] if outcome.arrays else 0


def _passes(outcome: Outcome, ranking: str) -> float:
    """Return the passes that a list in an order takes: ``rescored`` looks at it once more for each slot."""
    more_looks = _num_slots(outcome) if ranking == "rescored" else 0
    return outcome.passes + more_looks * outcome.setting.passes_at_a_look


def _is_hit(outcome: Outcome) -> NDArray[np.bool_]:
    """Return (B, K) bool, True where a slot's item is one of the user's next items."""
    tokens, future = outcome.arrays["tokens"], outcome.arrays["future"]
    return (tokens[:, :, None] == future[:, None, :]).any(axis=2)


def _statements(outcome: Outcome, slot: int | None) -> Statements:
    """Return what was committed, of all slots or of one."""
    arrays, chosen = outcome.arrays, slice(None) if slot is None else slice(slot, slot + 1)
    num_slots = len(range(_num_slots(outcome))[chosen])
    return Statements(
        committed=arrays["probability"][:, chosen].ravel().astype(np.float64),
        candidates=arrays["candidates"][:, chosen].reshape(-1, arrays["candidates"].shape[-1]).astype(float),
        num_others=np.repeat(arrays["num_others"], num_slots),
        is_hit=_is_hit(outcome)[:, chosen].ravel().astype(np.float64),
    )


def _with_bounds(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    """Return a figure's mean over users and its interval as columns."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {name: np.nan, f"{name} low": np.nan, f"{name} high": np.nan}
    low, high = bootstrap_interval(known)
    return {name: float(known.mean()), f"{name} low": low, f"{name} high": high}
