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
# # Look at the data
#
# **Question: what is in this data, and is there more to learn from a history than which items are popular?**

# %% tags=["parameters"]
dataset: str = "toy"  # toy, ml-100k, ml-1m, a table you prepared; filtered: ml-1m~5core~min4~norepeats
split: str = "leave_one_out"  # leave_one_out, leave_last_k, global_time, from_files
num_targets: int = 10  # K of leave_last_k
held_out_users: float = 0.0  # share of users who never train; above 0 they alone are judged
max_users: int = 2000  # judge that many users in the last section

# %% [markdown]
# ## What there is

# %%
import numpy as np
import plotly.graph_objects as go

from diffsasrec.splits import SplitConfig, make_split
from workbench import blocks
from workbench.datasets import open_dataset

blocks.begin()
data = open_dataset(dataset)
interactions = data.interactions
print(
    f"{data.name}: {interactions.num_users:,} users, {interactions.num_items:,} items, "
    f"{interactions.num_interactions:,} interactions"
    + (
        f" from {data.facts['first_day']} to {data.facts['last_day']}"
        if interactions.is_dated
        else " without dates"
    )
)
print(f"fingerprint {data.fingerprint}")
for difference in data.facts["differences"]:
    print(f"differs from what is published: {difference}")
for note in data.facts.get("notes", []):
    print(note)

# %% [markdown]
# ## One user
#
# What a model reads is a sequence like this one, as numbers; titles and genres are for us.

# %%
row = interactions.num_users // 2
start, end = interactions.offsets[row : row + 2].tolist()
shown = blocks.item_table(data, slice(max(start, end - 12), end))
print(f"The last {len(shown)} of {end - start} items of user {interactions.user_ids[row]}")
blocks.show_table(shown)

# %% [markdown]
# ## How long histories are, and how unequal items
#
# Left: how many interactions users have. Right: the share of all interactions that the most popular items have; the
# further the curve bends to the upper left, the more a list of popular items can win.

# %%
lengths = np.diff(interactions.offsets)
figure = go.Figure(go.Histogram(x=lengths, nbinsx=40, marker_color="#0072B2"))
figure.update_layout(height=300, xaxis_title="interactions of a user", yaxis_title="users", bargap=0.05)
figure.show()
counts = np.sort(np.bincount(interactions.tokens, minlength=interactions.num_items + 1)[1:])[::-1]
share = np.cumsum(counts) / counts.sum()
figure = go.Figure(go.Scatter(x=np.arange(1, len(share) + 1) / len(share), y=share, line_color="#D55E00"))
figure.update_layout(
    height=300, xaxis_title="share of items, most popular first", yaxis_title="share of interactions"
)
figure.show()

# %% [markdown]
# ## What is held out
#
# Training never sees the items of *validation* (they choose the best weights) and of *test* (they are looked at once,
# in notebook 03). A *cold* target never occurs in training, so nobody can know it: it counts as a miss.

# %%
parts = make_split(
    interactions, SplitConfig(name=split, num_targets=num_targets, held_out_users=held_out_users)
)
print(blocks.split_in_words(parts))
blocks.show_table(blocks.parts_table(parts))

# %% [markdown]
# ## Answer
#
# Three rankings that need no network, on the validation items. Random knows nothing; popularity knows the items and not
# the history; on the toy world the oracle knows the process itself, and nothing can be better.

# %%
references = blocks.reference_table(data, parts, max_users=max_users)
blocks.show_results(references, ("HR@10", "NDCG@10"))
blocks.answer(
    "What is in this data, and is there more to learn from a history than which items are popular?",
    blocks.references_in_words(references),
)
