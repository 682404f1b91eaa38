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
# # The systems of the papers, on the same footing
#
# **Question: who recommends the next item best when all have the same data, protocol and budget?**
#
# Every system is trained on the training part with the same budget, its weights are chosen on the validation part, and
# it is judged once on the test part, among the whole catalogue. The published figures stand beside ours with what was
# measured differently, and with the audit's verdict on whether they can be true.
#
# For the papers' own files: `dataset=diffurec-ml-1m` or `diffurec-beauty` with `split=from_files`. As the authors of
# DiffSASRec report: `split=global_time` on dated data.

# %% tags=["parameters"]
from typing import Optional

dataset: str = "toy"  # any data set that 02_train takes
split: str = "leave_one_out"  # leave_one_out, leave_last_k, global_time, from_files
systems: str = ""  # between commas; all by default
seeds: str = "0"  # between commas
max_minutes: Optional[float] = None  # of each training, evaluation on validation included
max_epochs: Optional[int] = None  # an end that comes before any other
max_length: Optional[int] = None  # items of a history that the model reads
width: Optional[int] = None  # of embeddings and hidden states
num_blocks: Optional[int] = None  # transformer blocks
num_heads: Optional[int] = None  # attention heads; they divide the width
dropout: Optional[float] = None  # share of values dropped while training
batch_size: Optional[int] = None  # windows in a batch
max_users: Optional[int] = None  # judged on test; None is all
runs_dir: Optional[str] = None  # where runs are kept; the repository's runs/ by default
results_to: Optional[str] = None  # a folder for the results as JSON, such as results/papers

# %% [markdown]
# ## The trainings
#
# Finished ones are not repeated.

# %%
import tempfile
from pathlib import Path

from workbench import blocks, comparison, papers, paths, population_figures, published, reconstructions
from workbench.open_runs import open_run
from workbench.parameters import listed

folder = blocks.begin(runs_dir)
settings = {
    "split": split,
    "max_minutes": max_minutes,
    "max_epochs": max_epochs,
    "max_length": max_length,
    "width": width,
    "num_blocks": num_blocks,
    "num_heads": num_heads,
    "dropout": dropout,
    "batch_size": batch_size,
}
chosen = listed("systems", systems, str, default=papers.SYSTEMS)
runs = papers.train_and_judge(
    dataset,
    systems=chosen,
    seeds=listed("seeds", seeds, int),
    settings=settings,
    runs_dir=folder,
    max_users=max_users,
    notebook="09_papers",
)

# %% [markdown]
# ## The next item, among the whole catalogue
#
# Without the items that a user has seen, then with them: as most papers print it, since what was seen is a wrong answer
# that is easily avoided.

# %%
ranked = {
    filtered: papers.measured(runs, filter_seen=filtered, figures=papers.FIGURES)
    for filtered in (True, False)
}
for filtered, table in ranked.items():
    print(f"seen items {'filtered' if filtered else 'may be recommended'}")
    blocks.show_table(table.round(4))

# %% [markdown]
# ## More than luck?
#
# The chance that a difference as large is there by luck alone, corrected (Holm); of the first seeds of the best eight.

# %%
first_seeds = [by_seed[0] for by_seed in runs.values()]
board = comparison.leaderboard(first_seeds, part="test", ways=["topk"])
found = comparison.compared(first_seeds, board, part="test", way="topk", figure="NDCG@10")
if found is not None:
    blocks.show_table(found[1].round(3).rename_axis("p, NDCG@10").reset_index())

# %% [markdown]
# ## Lists that are decoded, and lists one after the other

# %%
for way in ("diffusion", "autoregressive"):
    table = papers.measured(runs, way=way, filter_seen=True, figures=papers.MORE_FIGURES)
    if len(table):
        print(way)
        blocks.show_table(table.round(4))

# %% [markdown]
# ## Common items and rare ones, short histories and long ones

# %%
for by in ("target_is_head", "history_length"):
    blocks.show_table(papers.groups(runs, by=by).round(4))

# %% [markdown]
# ## What is restored of the targets
#
# The systems that diffuse embeddings estimate the embedding of the next item. Of the first seed of each, the estimates
# for at most 500 users beside the embeddings of their true next items, on the two main axes of the model's own items
# (PCA): filled and open, coloured by whether the target is one of the fifth of the items that trained most. Estimates
# are drawn on the scale of the items, all by one factor, which changes no ranking; how far they really spread is said
# below. The other systems rank by a hidden state that estimates no embedding, and are left out.

# %%
for system, by_seed in runs.items():
    opened = open_run(by_seed[0])
    if reconstructions.reconstructs(opened):
        restored = reconstructions.reconstructions(opened)
        figure = population_figures.reconstructions(*reconstructions.points(restored))
        blocks.show_figure(figure, alt=reconstructions.in_words(system, restored))

# %% [markdown]
# ## Beside what is published

# %%
tables = sorted((paths.repository_root() / "results" / "published").glob("*.csv"))
with tempfile.TemporaryDirectory() as scratch:
    kept = papers.keep_all(runs, Path(results_to) if results_to else Path(scratch))
    beside = {name: table for file in tables for name, table in published.beside_ours(file, kept).items()}
for name, table in beside.items():
    print(name)
    blocks.show_table(table.dropna(axis="columns", how="all"))
if not beside:
    print("nothing is published on these data")

# %% [markdown]
# ## Answer

# %%
blocks.answer(
    "Who recommends the next item best when all have the same data, protocol and budget?",
    papers.answer(ranked[True]),
)
