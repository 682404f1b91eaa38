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
# # Train a model
#
# **Question: how well does this model predict the next item, and did training end for a good reason?**
#
# The notebook leaves a run folder: checkpoints, every figure, and where they come from. A run that is finished is not
# trained again; one that was interrupted goes on from its last whole epoch. Notebooks 03 and 04 and the dashboard read
# what it leaves.
#
# Parameters that are `None` take the value of the data set's recipe (`workbench/recipes.py`).

# %% tags=["parameters"]
from typing import Optional

dataset: str = "toy"  # toy, ml-100k, ml-1m, a table you prepared; filtered: ml-1m~5core~min4~norepeats
model: str = "diffsasrec"  # sasrec, gru4rec, markov, diffurec ...: `workbench train -h` has all names
split: str = "leave_one_out"  # leave_one_out, leave_last_k, global_time, from_files
num_targets: Optional[int] = None  # K of leave_last_k: a user's last K items are the future; 10 by default
held_out_users: float = 0.0  # share of users who never train; above 0 they alone are judged
seed: int = 0  # of weights, order and masks
max_minutes: Optional[float] = None  # of training, evaluation included
max_epochs: Optional[int] = None  # an end that comes before any other
max_length: Optional[int] = None  # items of a history that the model reads, slots included where it has any
width: Optional[int] = None  # of embeddings and hidden states
num_blocks: Optional[int] = None  # transformer blocks
num_heads: Optional[int] = None  # attention heads; they divide the width
dropout: Optional[float] = None  # share of values dropped while training
batch_size: Optional[int] = None  # windows in a batch
learning_rate: Optional[float] = None  # of AdamW, after the warm-up
learning_rate_schedule: Optional[str] = None  # over a stage's epochs or time: constant, cosine, step
fine_tune: Optional[bool] = None  # diffsasrec and block_diffusion: whether there is a second stage
start_from: Optional[str] = None  # a run, or its folder, whose weights the training begins with
num_processes: int = 1  # above 1, so many train together, beside the notebook, on shares of each batch
runs_dir: Optional[str] = None  # where runs are kept; the repository's runs/ by default

# %% [markdown]
# ## The plan

# %%
from workbench import blocks, processes, run_figures
from workbench.recipes import recipe

folder = blocks.begin(runs_dir)
config = recipe(
    dataset,
    model,
    split=split,
    num_targets=num_targets,
    held_out_users=held_out_users,
    seed=seed,
    max_minutes=max_minutes,
    max_epochs=max_epochs,
    max_length=max_length,
    width=width,
    num_blocks=num_blocks,
    num_heads=num_heads,
    dropout=dropout,
    batch_size=batch_size,
    learning_rate=learning_rate,
    learning_rate_schedule=learning_rate_schedule,
    fine_tune=fine_tune,
    start_from=start_from,
)
blocks.show_config(config)

# %% [markdown]
# ## Training
#
# After every few epochs the model is judged on the validation items, never on the test items. The best weights are
# kept. You can stop the cell at any time: what was best until then stays usable, and running it again goes on.

# %%
run = processes.train(config, num_processes=num_processes, runs_dir=folder, notebook="02_train")
print(f"run {run.id} in {run.folder}")

# %% [markdown]
# ## How it went
#
# Left: what the optimiser minimises. Right: what we want, NDCG@10 of the next item among the whole catalogue. When the
# right curve has levelled off, more training of the same kind would not help.

# %%
history = run.history()
if len(history):
    run_figures.training_curves({run.id: history}).show()

# %% [markdown]
# ## Answer

# %%
blocks.show_results(blocks.results(run, part="validation"))
blocks.answer(
    "How well does this model predict the next item, and did training end for a good reason?",
    blocks.training_in_words(run),
)
