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
# # Compare runs
#
# **Question: which of these runs is the best, and is it more than luck?**
#
# Any finished runs can be compared. Those that were judged on the same targets share a table; whatever else differs in
# how they were judged is said below it.

# %% tags=["parameters"]
from typing import Optional

runs: str = ""  # ids, first letters of keys, recipes or patterns (toy-*/*), between commas
dataset: str = "toy"  # whose finished runs are compared, where none are named
part: str = ""  # test or validation; empty for test where every run was judged on it
way: str = "topk"  # what is compared in pairs: topk, autoregressive, diffusion or any_slot
figure: str = "NDCG@10"  # what runs are ordered by
runs_dir: Optional[str] = None  # where runs are kept; the repository's runs/ by default

# %% [markdown]
# ## The runs

# %%
from workbench import blocks, comparison, run_figures, tables
from workbench.parameters import text

folder = blocks.begin(runs_dir)
chosen = comparison.choose_runs(folder, text("runs", runs), dataset=dataset)
way = comparison.known_way(way)
part = comparison.judged_part(chosen, part)
groups = comparison.groups_of(chosen)
print(f"{len(chosen)} finished runs, compared on the {part} part")
for name, group in groups.items():
    print(f"{name}: {len(group)}")
if len(groups) > 1:
    print("They were judged on different targets: figures of different tables below cannot be compared.")

# %% [markdown]
# ## Who leads
#
# Every figure is a mean over users with its 95 % bootstrap interval; items of the user's own history are filtered. The
# interval says what other users might have given, not what another seed would have.

# %%
boards = {name: comparison.leaderboard(group, part=part, figure=figure) for name, group in groups.items()}
for name, board in boards.items():
    print(name)
    blocks.show_results(
        board.drop(columns=["seconds"]), dict.fromkeys([figure, "HR@10", "NDCG@10", "Coverage@10"])
    )
    for note in tables.protocol_notes(board):
        print(note)

# %% [markdown]
# ## Over seeds
#
# The same experiment with another seed. `sd` is the standard deviation over seeds; there is none for a single seed, and
# a difference smaller than it says little.

# %%
for name, board in boards.items():
    print(name)
    blocks.show_table(comparison.seeds_table(board, [figure, "HR@10"]).round(4))

# %% [markdown]
# ## More than luck?
#
# Two runs are compared on the same users. The number is the chance that a difference as large is there by luck alone,
# corrected (Holm) for the number of comparisons. Below 0.05 we take it for a difference.

# %%
pairs = {}
for name, board in boards.items():
    print(name)
    found = comparison.compared(groups[name], board, part=part, way=way, figure=figure)
    if found is None:
        print(f"Fewer than two of these runs were judged by {way}.")
        continue
    pairs[name], matrix = found
    blocks.show_table(matrix.round(3).rename_axis(f"p, {figure}, {way}").reset_index())

# %% [markdown]
# ## What it costs
#
# Seconds depend on the machine and on what else it did. Peak memory is that of the whole process that trained, Python
# and torch included.

# %%
blocks.show_table(comparison.cost_table(chosen, part=part))
for name, board in boards.items():
    own = board[board["way"] == way]
    if len(own) and own["seconds"].notna().any():
        run_figures.runs_scatter(own, x="seconds", y=figure).update_layout(title=name).show()

# %% [markdown]
# ## How they were trained
#
# A curve that still rises asks for more training, not for another model.

# %%
histories = {run.id: history for run in chosen if len(history := run.history())}
if histories:
    run_figures.training_curves(histories, x="seconds").show()

# %% [markdown]
# ## Answer

# %%
words = [
    comparison.comparison_in_words(board, pairs.get(name), way=way, figure=figure)
    for name, board in boards.items()
]
blocks.answer("Which of these runs is the best, and is it more than luck?", " ".join(words))
