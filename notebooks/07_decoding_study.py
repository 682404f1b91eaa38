# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What decoding is worth
#
# **Question: where does diffusion decoding win over top-K and the autoregressive SASRec, if anywhere?**
#
# A reverse process fills K slots in a few steps. How many steps, which slots first, and what orders the list
# afterwards: each of these is a choice, and some cost ten times as much as others. Here every rule is tried at several
# costs. Settings are **chosen on one part** of the data and **judged on another**, on the same users as what they
# compete with.

# %% tags=["parameters"]
from typing import Optional

run: str = ""  # <recipe>/<key>, or the first letters of a key; empty for the newest run that can decode
sasrec_run: str = ""  # an autoregressive run of the same split to compete with; empty for none
part: str = "validation"  # where settings and temperatures are chosen
report_part: str = "test"  # where they are judged
rules: str = ""  # rules separated by commas; empty for all
steps: str = "10,5,2,1"  # numbers of steps, for the rules that have one
num_slots: Optional[int] = None  # K; 10, or half of a short model's length, by default
max_users: Optional[int] = None  # choose on that many users; all by default
report_users: Optional[int] = None  # judge on that many users; all by default
results_to: Optional[str] = None  # a folder: the aggregate tables go there as JSON
stages: str = "1,2,4,8,16,32"  # on the toy world: epochs after which the distance to the truth is measured
runs_dir: Optional[str] = None  # where runs are kept; the repository's runs/ by default

# %% [markdown]
# ## The settings
#
# A *pass* is one look of the network at history and slots; it is what decoding costs. Rules with a number of steps are
# tried at several; adaptive rules at several values of the knob that decides how much they fill at once.

# %%
from pathlib import Path

import pandas as pd

from diffsasrec.decode_config import RULES
from diffsasrec.protocol import is_usual_decoding
from workbench import blocks, comparison, decoding_figures, decoding_study, study_tables
from workbench.datasets import oracle_for
from workbench.open_runs import default_decode_config, open_run
from workbench.parameters import listed, text
from workbench.results import keep_study
from workbench.runs import Run
from workbench.toy_study import config_of, distances_over_training

folder = blocks.begin(runs_dir)
opened = open_run(comparison.choose_run(folder, text("run", run), way="diffusion"))
k = num_slots or default_decode_config(opened.checkpoint.model).num_slots
names = listed("rules", rules, str, default=list(RULES))
epochs = listed("stages", stages, int)  # of the last part, on the toy world
configs = decoding_study.decodings(names, num_slots=k, steps=listed("steps", steps, int))
settings = decoding_study.settings_of(opened, configs)
print(
    f"{opened.run.id} on {opened.dataset.name}, {opened.split.config.name}: {len(settings)} settings, K = {k}"
)
outcomes = decoding_study.study(opened, settings, part=part, max_users=max_users, num_slots=k)
print(f"{len(outcomes[0].rows):,} users of the {part} part")

# %% [markdown]
# ## Quality against cost
#
# Every point is a setting in the best of its orders, with its 95 % interval over users; grey lines are lists that are
# not decoded. Where several next items were held out, lists are judged against them as a set (how many of them are in
# it) and in their order (how many stand at their very places). What is chosen here is only a candidate.

# %%
table = study_tables.study_table(outcomes)
figures = study_tables.figures_of(outcomes)
for figure in figures[:4]:
    decoding_figures.quality_against_cost(table, figure=figure).show()
    print(decoding_figures.in_words(table, x="passes", y=figure))

# %%
blocks.show_results(table, [*figures, *(name for name in table if str(name).startswith("Coverage@"))])

# %% [markdown]
# ## How each rule goes about it
#
# *First slot surest*: for how many users the first slot is the most confident one; DiffSASRec's authors report 26.3 %.
# *Duplicates*: how often, in a whole decode, a slot wanted what another one wanted too. *Regretted*: items that the
# model would not choose again, now that it sees all the others. *ECE*: how far confidence at commit is from the share
# that comes true, before any temperature.

# %%
slowest = [outcome for outcome in outcomes if "regret" in outcome.arrays]
process = study_tables.process_table(slowest)
blocks.show_results(process, [name for name in process if f"{name} low" in process])

# %% [markdown]
# What became of the next item: it is in the list; it was some slot's first choice at some step and was **thrown
# away**; it was among the candidates only; or it was never in sight.

# %%
decoding_figures.fates(process).show()

# %% [markdown]
# ## Slot by slot
#
# When each slot is filled (1 is first), how often its item comes true, and how often it is regretted.

# %%
slots = study_tables.slots_table(slowest)
decoding_figures.over(slots, x="slot", y="place", title="Mean place in the order of filling").show()
decoding_figures.over(slots, x="slot", y="hits", title="Items that come true, by slot").show()
decoding_figures.over(slots, x="slot", y="regretted", title="Items that are regretted, by slot").show()
blocks.show_table(slots.round(4))

# %% [markdown]
# ## Step by step
#
# How undecided the open slots are when a step begins, how often what is filled then comes true, and in which step the
# next item stood best for users whose list lacks it.

# %%
over_steps = study_tables.steps_table(slowest)
decoding_figures.over(over_steps, x="step", y="entropy", title="Entropy of the open slots, nats").show()
decoding_figures.over(over_steps, x="step", y="hits", title="Items that come true, by step").show()
decoding_figures.over(
    over_steps, x="step", y="truth best and lost", title="When the next item stood best and was lost"
).show()
blocks.show_table(over_steps.round(4))

# %% [markdown]
# ## Which order of the list?
#
# The same items, ordered by slot, by the confidence at which each was committed, or by a last look at the whole list.

# %%
orders = pd.concat(
    [
        study_tables.rankings_table(outcomes, figure=figure).assign(figure=figure)
        for figure in figures
        if figure.startswith(("NDCG", "SetNDCG"))
    ]
)
blocks.show_table(orders.round(4))

# %% [markdown]
# ## Choosing, and judging what was chosen
#
# For each figure the setting that did best above. It is judged now on the other part, and the usual decoding with it.

# %%
chosen = study_tables.best_decodings(outcomes, figures)
wanted = {setting for setting, _ in chosen.values()}
kept = [
    setting
    for setting in settings
    if setting.decode is None or setting.name in wanted or is_usual_decoding(setting.name)
]
judged = decoding_study.study(opened, kept, part=report_part, max_users=report_users, num_slots=k)
if sasrec_run:
    other = open_run(Run.open(folder, text("sasrec_run", sasrec_run)))
    rivals = decoding_study.settings_of(other, [])
    judged += decoding_study.study(other, rivals, part=report_part, max_users=report_users, num_slots=k)
claims = study_tables.claims(chosen, judged)
decoding_figures.differences(claims).show()
blocks.show_table(claims.round(4))

# %% [markdown]
# ## Is it as often right as it says?
#
# One temperature for each decoding, and for each of its slots, fitted to hits and misses of the first part; the
# expected calibration error is that of the other part, before and after.

# %%
calibration = study_tables.calibration_table(outcomes, judged)
blocks.show_table(calibration.round(4))

# %%
from workbench.run_figures import reliability_curve

for outcome in [each for each in judged if each.arrays][:3]:
    rows = calibration[(calibration["setting"] == outcome.setting.name) & (calibration["slot"] == "all")]
    temperature = float(rows["temperature"].iloc[0])
    curves = {
        f"{outcome.setting.name}, as it is": study_tables.reliability_at(outcome, 1.0).curve(),
        f"at temperature {temperature:.2f}": study_tables.reliability_at(outcome, temperature).curve(),
    }
    reliability_curve(curves).show()

# %% [markdown]
# ## How far from the truth?
#
# On the toy world the distribution of the next item is known exactly. The same model is trained anew; after some epochs
# its first slot is compared with it: half the sum of the differences, 0 where they agree, 1 where they have nothing in
# common. Elsewhere nobody knows the truth, and this is left out.

# %%
if oracle_for(opened.dataset) is not None:
    measured = distances_over_training(
        config_of(opened.run.manifest),
        opened.dataset,
        epochs=epochs,
        part=report_part,
        num_slots=k,
        max_users=report_users,
    )
    decoding_figures.distance_to_the_truth(measured).show()
    blocks.show_table(measured.round(4))

# %% [markdown]
# ## To keep
#
# Where a folder is given, the tables are written there: settings, slots, steps and claims, no row of a user.

# %%
if results_to is not None:
    tables = {
        "quality": table,
        "process": process,
        "slots": slots,
        "steps": over_steps,
        "orders": orders,
        "judged": study_tables.study_table(judged),
        "claims": claims,
        "calibration": calibration,
        **({} if oracle_for(opened.dataset) is None else {"distance": measured}),
    }
    about = {
        "chosen on": part,
        "users": len(outcomes[0].rows),
        "judged on": report_part,
        "users judged": len(judged[0].rows),
        "slots": k,
        "competitor": sasrec_run,
    }
    print(keep_study(opened.run, Path(results_to), tables=tables, about=about))

# %% [markdown]
# ## Answer

# %%
blocks.show_table(
    claims[["figure", "decoding", "ranked by", "competitor", "difference", "low", "high", "verdict"]].round(4)
)
blocks.answer(
    "Where does diffusion decoding win over top-K and the autoregressive SASRec, if anywhere?",
    study_tables.claims_in_words(claims, part=report_part, chosen_on=part, num_users=len(judged[0].rows)),
)
