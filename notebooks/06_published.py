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
# # Published figures
#
# **Question: can the published figures be true, and what may ours be compared with?**
#
# Any table of HR, NDCG and MRR for one target per user obeys a few bounds: MRR is at most NDCG, NDCG at most HR, every
# hit is worth at least as much as one in the last place, every figure grows with K, and NDCG grows with HR. A row that
# breaks one cannot come from any list of recommendations, whatever the data. Half a unit of the last printed digit is
# allowed on each figure.

# %% tags=["parameters"]
from typing import Optional

tables: str = ""  # CSV tables, separated by commas; empty for those of the two papers
results: Optional[str] = None  # the folder of our own results; the repository's results/ by default

# %%
from pathlib import Path

from workbench import blocks, paths, published
from workbench.parameters import listed

blocks.begin()
ours = Path(results) if results else paths.repository_root() / "results"
chosen = [Path(name) for name in listed("tables", tables, str, default=[])]
files = chosen or sorted((paths.repository_root() / "results" / "published").glob("*.csv"))

# %% [markdown]
# ## Every row, and whether it can be true

# %%
audited = {file.name: published.audited(file) for file in files}
for name, table in audited.items():
    print(name)
    blocks.show_table(table)

# %% [markdown]
# ## Ours beside them
#
# Only where our results hold the same data. A row of ours says what was measured differently, our value before the
# published one; what a paper does not say is not compared. Figures that were measured differently say nothing of which
# system is better.

# %%
beside = {name: table for file in files for name, table in published.beside_ours(file, ours).items()}
for name, table in beside.items():
    print(name)
    blocks.show_table(table.dropna(axis="columns", how="all"))
if not beside:
    print(f"{ours} holds no results on the data of these tables")

# %% [markdown]
# ## Answer

# %%
blocks.answer("Can the published figures be true?", published.in_words(audited))
