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
# # The bridge between SASRec and DiffSASRec
#
# **Question: what does it cost to restore several items together rather than one after the other?**
#
# Block diffusion reads a history causally and restores the block of items behind it together. With blocks of one item
# it has SASRec's objective, through a MASK that asks for it; with one block as long as the window it is DiffSASRec.
# Here it is trained with block sizes in between, all with the same budget, and with SASRec and DiffSASRec at the ends.
# The loss is measured on whole histories of users who never train.
#
# Parameters that are `None` take the value of the data set's recipe (`workbench/recipes.py`).

# %% tags=["parameters"]
from typing import Optional

dataset: str = "toy"  # any data set that 02_train takes
block_sizes: str = "1,2,5,10,0"  # between commas; 0 is the whole length
w_ar: Optional[float] = None  # weight of the clean stream's next-item loss
noised_blocks: Optional[int] = None  # blocks of a window that are restored in a step of training
least_masked: Optional[float] = None  # the smallest mask probability of a block in training
held_out_users: float = 0.2  # share of users who never train; the loss is theirs
num_draws: int = 8  # of masks, over which each loss is averaged
seed: int = 0  # of weights, order and masks
max_minutes: Optional[float] = None  # of each training, evaluation included
max_epochs: Optional[int] = None  # an end that comes before any other
max_length: Optional[int] = None  # items of a history that the model reads, slots included
width: Optional[int] = None  # of embeddings and hidden states
num_blocks: Optional[int] = None  # transformer blocks
num_heads: Optional[int] = None  # attention heads; they divide the width
batch_size: Optional[int] = None  # windows in a batch
runs_dir: Optional[str] = None  # where runs are kept; the repository's runs/ by default

# %% [markdown]
# ## The trainings
#
# Finished ones are not repeated. There is one stage for all: DiffSASRec goes without its fine-tuning, block diffusion
# learns both objectives from the start.

# %%
from dataclasses import replace

import pandas as pd
import torch

from diffsasrec.masking import MASK_EPSILON
from diffsasrec.models import build_model
from diffsasrec.models.block_diffusion import BlockDiffusionConfig
from diffsasrec.sequences import evaluation_batches
from workbench import blocks, run_figures
from workbench.experiments import run_experiment
from workbench.open_runs import open_run
from workbench.parameters import listed
from workbench.recipes import recipe

folder = blocks.begin(runs_dir)
if num_draws < 1:
    raise ValueError(f"num_draws must be at least 1, got {num_draws}: the loss is an average over draws")
if not held_out_users > 0:
    raise ValueError(f"held_out_users must be above 0, got {held_out_users}: the loss is theirs")
budget = {
    "held_out_users": held_out_users,
    "seed": seed,
    "max_minutes": max_minutes,
    "max_epochs": max_epochs,
    "max_length": max_length,
    "width": width,
    "num_blocks": num_blocks,
    "num_heads": num_heads,
    "batch_size": batch_size,
}
length = recipe(dataset, "block_diffusion", **budget).model_config["max_length"]
sizes = sorted({size or length for size in listed("block_sizes", block_sizes, int)})
own = {"w_ar": w_ar, "noised_blocks": noised_blocks, "least_masked": least_masked, "fine_tune": False}
plans = {size: recipe(dataset, "block_diffusion", block_size=size, **own, **budget) for size in sizes}
plans |= {
    "sasrec": recipe(dataset, "sasrec", **budget),
    "diffsasrec": recipe(dataset, "diffsasrec", fine_tune=False, **budget),
}
runs = {name: run_experiment(plan, runs_dir=folder, notebook="08_bridge") for name, plan in plans.items()}

# %% [markdown]
# ## The loss of histories that nobody trained on
#
# *Restoration* is the masked cross entropy over p, averaged over draws of t and masks: an upper bound on the nats that
# an item costs. Every block of every window is restored here, with p from its smallest value on, whatever training
# did. *Prediction* is the cross entropy of the next item in a causal stream. The first item of a window is
# restored from nothing and never predicted, so the two differ by a little more than the objective.


# %%
@torch.no_grad()
def held_out_losses(run) -> dict[str, float]:
    """Return each part of a run's loss on the histories of users who never trained, by the number of items."""
    opened = open_run(run)
    model = opened.checkpoint.model
    if isinstance(model.config, BlockDiffusionConfig):
        every_block = replace(model.config, noised_blocks=None, least_masked=MASK_EPSILON)
        weights = model.state_dict()
        model = build_model("block_diffusion", every_block, model.num_items).eval()
        model.load_state_dict(weights)
    totals, num_items = {}, 0
    generator = torch.Generator().manual_seed(0)
    for batch, _ in evaluation_batches(
        opened.split, opened.split.validation, max_length=model.window, batch_size=256
    ):
        for _ in range(num_draws):
            for name, value in model.loss(batch, generator=generator).parts.items():
                totals[name] = totals.get(name, 0.0) + value.item() * int(batch.lengths.sum()) / num_draws
        num_items += int(batch.lengths.sum())
    return {name: total / num_items for name, total in totals.items()}


losses = {name: held_out_losses(run) for name, run in runs.items()}

# %% [markdown]
# ## The curve

# %%
curve = pd.DataFrame([{"block_size": size, **losses[size]} for size in sizes])
ends = {
    "sasrec, prediction": losses["sasrec"]["prediction"],
    "diffsasrec, restoration": losses["diffsasrec"]["restoration"],
}
run_figures.loss_by_block_size(curve, ends=ends).show()

# %% [markdown]
# ## What else the block size changes
#
# The next item is ranked by the causal stream for every block size, so its NDCG@10 says what the second objective gives
# to the first or takes from it.

# %%
rows = []
for name, run in runs.items():
    figure = blocks.results(run, part="validation", filter_seen=True).iloc[0]
    rows.append(
        {
            "model": name if isinstance(name, str) else "block_diffusion",
            "block size": name if isinstance(name, int) else None,
            **{part: round(loss, 4) for part, loss in losses[name].items()},
            "NDCG@10": round(figure["NDCG@10"], 4),
            "low": round(figure["NDCG@10 low"], 4),
            "high": round(figure["NDCG@10 high"], 4),
            "epochs": run.manifest["training"]["epochs"],
            "minutes": round(run.manifest["training"]["seconds"] / 60, 1),
        }
    )
blocks.show_table(pd.DataFrame(rows))

# %% [markdown]
# ## Answer

# %%
first, last = losses[sizes[0]]["restoration"], losses[sizes[-1]]["restoration"]
blocks.answer(
    "What does it cost to restore several items together rather than one after the other?",
    f"From blocks of {sizes[0]} to blocks of {sizes[-1]} the bound on an item's cost goes from {first:.3f} to "
    f"{last:.3f} nats, over the same budget. SASRec predicts the next item at "
    f"{ends['sasrec, prediction']:.3f}, DiffSASRec restores at {ends['diffsasrec, restoration']:.3f}.",
)
