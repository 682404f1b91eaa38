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
# # One change at a time
#
# **Question: what makes DiffSASRec better at the next item, and what only sounds as if it did?**
#
# Every variant changes one thing of the same small DiffSASRec and has the same number of epochs; each is trained with
# several seeds. They are judged on the **validation** part, on the same users, so that what is chosen here is chosen
# without the test part. `workbench/ablation.py` has the variants.

# %% tags=["parameters"]
from typing import Optional

dataset: str = "toy"  # any data set that 02_train takes; it needs categories for the variant that reads them
split: str = "leave_one_out"  # leave_one_out, leave_last_k, global_time, from_files
variants: str = ""  # names between semicolons; all by default
seeds: str = "0,1,2"  # between commas
max_epochs: int = 30  # of each training, all its stages together
evaluate_every: int = 5  # epochs
max_length: Optional[int] = None  # items of a history that the model reads, slots included
width: Optional[int] = None  # of embeddings and hidden states
num_blocks: Optional[int] = None  # transformer blocks
dropout: Optional[float] = None  # share of values dropped while training
batch_size: Optional[int] = None  # windows in a batch
learning_rate: Optional[float] = None  # of AdamW, after the warm-up
runs_dir: Optional[str] = None  # where runs are kept; the repository's runs/ by default
results_to: Optional[str] = None  # a folder for the table as JSON, such as results/ablation

# %% [markdown]
# ## The trainings
#
# Finished ones are not repeated.

# %%
from pathlib import Path

from workbench import ablation, blocks, decoding_figures, run_figures
from workbench.parameters import listed
from workbench.results import keep_study

folder = blocks.begin(runs_dir)
settings = {
    "split": split,
    "evaluate_every": evaluate_every,
    "max_length": max_length,
    "width": width,
    "num_blocks": num_blocks,
    "dropout": dropout,
    "batch_size": batch_size,
    "learning_rate": learning_rate,
}
chosen = ablation.variants_named(variants)
drawn = listed("seeds", seeds, int)
runs = ablation.ablate(
    dataset,
    variants=chosen,
    seeds=drawn,
    max_epochs=max_epochs,
    runs_dir=folder,
    settings={name: value for name, value in settings.items() if value is not None},
    notebook="11_ablation",
)

# %% [markdown]
# ## What each change gains
#
# A difference is a user's, averaged over the seeds; its interval is a bootstrap over users, so it speaks of these
# seeds. *worst* and *best* are the differences of single seeds: where their signs differ, a seed decides more than the
# change does. *p corrected* is Holm's over all variants.

# %%
table = ablation.ablation_table(runs)
blocks.show_table(table.round(4))
decoding_figures.gains(table, of="variant", title="NDCG@10 above the base, validation").show()

# %% [markdown]
# ## How they learn

# %%
run_figures.training_curves({name: by_seed[drawn[0]].history() for name, by_seed in runs.items()}).show()

# %% [markdown]
# ## Answer

# %%
if results_to is not None:
    about = {
        "part": "validation",
        "seeds": seeds,
        "epochs": max_epochs,
        "ranked by": "topk, seen items filtered",
    }
    print(
        keep_study(runs[ablation.BASE][drawn[0]], Path(results_to), tables={"variants": table}, about=about)
    )
blocks.answer(
    "What makes DiffSASRec better at the next item, and what only sounds as if it did?",
    ablation.gains_in_words(table, part="validation"),
)
