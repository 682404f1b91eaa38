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
# # Do the embeddings collapse?
#
# **Question: does a training that diffuses embeddings press the items together, and do stages help against it?**
#
# A model that must restore a noised embedding can make that easy by putting all items in one place. ADRec's authors
# learn the embeddings first, let them stand still while the rest warms up, and then train all. Here ADRec is trained in
# one, two and three stages beside SASRec and DiffSASRec, which diffuse no embeddings. Three figures tell: the mean
# cosine of two items (1: all point the same way), the effective rank of the table (from 1 to its width), and the
# singular values.

# %% tags=["parameters"]
from typing import Optional

dataset: str = "toy"  # any data set that 02_train takes
split: str = "leave_one_out"  # leave_one_out, leave_last_k, global_time, from_files
stages: str = "1,2,3"  # of ADRec, between commas
seed: int = 0  # of weights, order and draws
max_epochs: int = 20  # of the last stage of each training
stage_epochs: int = 5  # of the stages before it, of models that have some
max_length: Optional[int] = None  # items of a history that the model reads
width: Optional[int] = None  # of embeddings and hidden states
num_blocks: Optional[int] = None  # transformer blocks
num_heads: Optional[int] = None  # attention heads; they divide the width
batch_size: Optional[int] = None  # windows in a batch
runs_dir: Optional[str] = None  # where runs are kept; the repository's runs/ by default
results_to: Optional[str] = None  # a folder for the table as JSON, such as results/collapse

# %% [markdown]
# ## The trainings
#
# Finished ones are not repeated.

# %%
from pathlib import Path

import pandas as pd

from diffsasrec.embedding_health import EFFECTIVE_RANK, MEAN_COSINE, health, item_embeddings
from workbench import blocks, population_figures, run_figures
from workbench.experiments import run_experiment
from workbench.parameters import listed
from workbench.recipes import recipe
from workbench.results import keep_study

folder = blocks.begin(runs_dir)
size = {"max_length": max_length, "width": width, "num_blocks": num_blocks, "num_heads": num_heads}
common = {**size, "split": split, "seed": seed, "max_epochs": max_epochs, "batch_size": batch_size}
early = {"pretrain_epochs": stage_epochs, "warm_up_epochs": stage_epochs}
plans = {
    f"adrec, {number} stage{'s' if number != 1 else ''}": recipe(
        dataset, "adrec", num_stages=number, **early, **common
    )
    for number in listed("stages", stages, int)
}
plans["sasrec"] = recipe(dataset, "sasrec", **common)
two_stages = {"max_epochs": stage_epochs, "fine_tune_epochs": max_epochs}
plans["diffsasrec"] = recipe(dataset, "diffsasrec", **{**common, "fine_tune": True, **two_stages})
runs = {name: run_experiment(plan, runs_dir=folder, notebook="12_collapse") for name, plan in plans.items()}

# %% [markdown]
# ## Through training

# %%
histories = {name: run.history() for name, run in runs.items()}
run_figures.collapse_curves(histories).show()
run_figures.training_curves(histories).show()
for name, history in histories.items():
    population_figures.spectrum_through_training(history).update_layout(title=name).show()

# %% [markdown]
# ## At the end
#
# Of the weights that are kept: those with the best NDCG@10 on validation.

# %%
rows = []
for name, run in runs.items():
    model = run.load_checkpoint().model
    found = health(item_embeddings(model.state_dict(), num_items=model.num_items))
    row = {"model": name, MEAN_COSINE: found.mean_cosine, EFFECTIVE_RANK: found.effective_rank}
    best = run.history()["NDCG@10"].max()
    rows.append(row | {"width": len(found.singular_values), "NDCG@10, validation": best})
table = pd.DataFrame(rows)
blocks.show_table(table.round(4))

# %% [markdown]
# ## Answer

# %%
if results_to is not None:
    about = {
        "part": "validation",
        "seed": seed,
        "epochs": max_epochs,
        "epochs of stages before": stage_epochs,
    }
    print(keep_study(runs["sasrec"], Path(results_to), tables={"models": table}, about=about))
by_model = table.set_index("model")
least = by_model[EFFECTIVE_RANK].idxmin()
words = "; ".join(
    f"{name} {row[EFFECTIVE_RANK]:.1f} of {row['width']:.0f} (cosine {row[MEAN_COSINE]:+.3f})"
    for name, row in by_model.iterrows()
)
blocks.answer(
    "Does a training that diffuses embeddings press the items together, and do stages help against it?",
    f"Effective ranks at the end: {words}. The least room is used by {least}.",
)
