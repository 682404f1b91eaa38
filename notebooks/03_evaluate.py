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
# # Judge a run
#
# **Question: how good are this run's recommendations for people it has to predict, and how far are they from the best
# possible?**
#
# The test items are looked at here for the first time. Every figure is a mean over users with its 95 % interval, over
# the whole catalogue, never over a sample of it. The figures are written into the run.

# %% tags=["parameters"]
from typing import Optional

run: str = ""  # <recipe>/<key>, or the first letters of a key; empty for the newest run
rule: str = "threshold_decay"  # how slots are filled, for models that decode: see notebook 04_decode
num_slots: Optional[int] = None  # length of a decoded list; 10, or half of a short model's length, by default
max_users: Optional[int] = None  # judge that many users only, for a quick look
runs_dir: Optional[str] = None  # where runs are kept; the repository's runs/ by default

# %% [markdown]
# ## The run

# %%
from workbench import blocks, comparison, run_figures
from workbench.experiments import evaluate_run, judged_decoding
from workbench.open_runs import fills_slots, open_run
from workbench.parameters import text

folder = blocks.begin(runs_dir)
opened = open_run(comparison.choose_run(folder, text("run", run)))
model = opened.checkpoint.model
print(
    f"{opened.run.id}, {opened.run.status}, on {opened.dataset.name}: {len(opened.split.test):,} users to judge"
)
print(f"It can recommend in these ways: {', '.join(model.ways)}")

# %% [markdown]
# ## Judging
#
# - `topk`: the whole catalogue is ranked once, the K best items are the list.
# - `autoregressive`: one item is predicted, appended to the history, and so on, K times.
# - `diffusion`: K masked slots behind the history are filled in a few steps; the list is ranked by how sure the model
#   was when it filled a slot, for the order of slots is not a ranking. A model that diffuses embeddings has no slots:
#   what it samples is its `topk`.
# - `any_slot`: the catalogue is ranked by how likely an item is in any of K masked slots at the first look; nothing is
#   decoded.
#
# `filter_seen` says whether items of the user's own history were forbidden. On the toy world the *oracle* stands beside
# the model: it knows the process that drew the data, so no model can be better, but for chance.

# %%
config = None
if fills_slots(model):
    given = {} if num_slots is None else {"num_slots": num_slots}
    config = judged_decoding(opened, rule=rule, **given)
evaluations = evaluate_run(opened, decode_config=config, max_users=max_users)

# %% [markdown]
# ## How the ways of recommending compare

# %%
table = blocks.results(opened.run, part="test")
blocks.show_results(table, ("HR@1", "HR@5", "HR@10", "NDCG@10", "MRR@10", "Coverage@10"))

# %% [markdown]
# ## What kind of lists they are
#
# Novelty is the mean surprise of the listed items, in bits: one more bit is an item half as common in training.
# Diversity is how little the categories of two listed items have in common, where items have categories. Where several
# next items were held out, the list is also judged against them as a set and in their order.

# %%
blocks.show_results(
    table.drop(columns="protocol"),
    (
        "Novelty@10",
        "Diversity@10",
        "SetRecall@10",
        "SetPrecision@10",
        "SetNDCG@10",
        "SlotAccuracy@10",
        "OrderedMatch@10",
        "FirstSlotMostConfident",
        "Steps",
        "ECE",
    ),
)

# %% [markdown]
# ## Is it as often right as it says?
#
# For `topk` the confidence of the first item, for `diffusion` that of every slot when it was filled, against how often
# the item was the next one (or among the next ones, where several were held out). Above the dotted line the model knows
# more than it says. `ECE` above sums the gap up: 0 is best.

# %%
run_figures.reliability_curve(blocks.reliability(opened.run)).show()

# %% [markdown]
# ## Who is hit, and who is not
#
# By length of history: short histories say less.

# %%
blocks.show_groups(opened.run, by="history_length")

# %% [markdown]
# By how common the target is: the head is the 20 % of the items that trained most.

# %%
blocks.show_groups(opened.run, by="target_is_head")

# %% [markdown]
# ## Answer

# %%
blocks.show_results(blocks.results(opened.run, part="test", filter_seen=True), ("HR@10", "NDCG@10"))
blocks.answer(
    "How good are this run's recommendations, and how far are they from the best possible?",
    blocks.evaluation_in_words(opened.run),
)
