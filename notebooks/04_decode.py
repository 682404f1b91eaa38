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
# # Step through one user's reverse process
#
# **Question: how did the model come to this user's list, and was the right answer there?**
#
# Masked diffusion learns to restore items that were hidden. To recommend, we hide what does not exist yet: K masked
# *slots* are put behind the history, and the model fills them, a few at a time, the most certain first. Every step is
# one look of the model at the history and at the slots that are filled already. Here you watch each of these looks.

# %% tags=["parameters"]
from typing import Optional

run: str = ""  # <recipe>/<key>, or the first letters of a key; empty for the newest run that can decode
user: Optional[str] = None  # a user's id; by default one whose held-out item gets into the list
rule: str = "threshold_decay"  # how slots are filled; `workbench rules` lists all
num_slots: Optional[int] = None  # K; 10, or half of a short model's length, by default
num_steps: Optional[int] = None  # of the rules that have one (`workbench rules`); one slot a step by default
temperature: float = 0.0  # above 0, items are drawn instead of taking the most probable one
seed: int = 0  # of the draws
knobs: str = ""  # any other knobs of the rule, as below
edit: str = ""  # of the history, as below
pin: str = ""  # items in slots from the start, as below
forbid: str = ""  # items that may not be recommended
branch: str = ""  # pins and forbidden items from a step on, as below; each changes the one before it
runs_dir: Optional[str] = None  # where runs are kept; the repository's runs/ by default

# %% [markdown]
# Several of a kind stand between commas: `knobs` as in `threshold=0.5, decay=0.8`; `edit` as in `remove 1,
# replace 2=1193, insert 1=260, move 4=1`, where 1 is the latest item; `pin` as in `3=1193`; `branch` as in
# `2: pin 3=1193, 4: forbid 260`.
#
# ## Where we start: a history, and K masks
#
# Below is what the user did, oldest first. The last item in the data was held out: the model never saw it, and neither
# does the reverse process. It is marked with a star wherever it turns up.

# %%
import pandas as pd

from diffsasrec import decode_analysis
from diffsasrec.decode_config import RULES
from workbench import (
    blocks,
    comparison,
    decoding_figures,
    decoding_study,
    replay,
    stepper,
    tables,
    trace_figures,
)
from workbench.decode_request import read_request
from workbench.figure_style import percent
from workbench.open_runs import default_decode_config, open_run, trace_name
from workbench.parameters import text

folder = blocks.begin(runs_dir)
opened = open_run(comparison.choose_run(folder, text("run", run), way="diffusion"))
given = {"num_slots": num_slots, "num_steps": num_steps, "temperature": temperature or None}
named = [f"{name}={value}" for name, value in given.items() if value is not None]
asked = {
    "rule": rule,
    "seed": seed,
    "knobs": ", ".join([*named, text("knobs", knobs)]),
    "edit": text("edit", edit),
    "pin": text("pin", pin),
    "forbid": text("forbid", forbid),
    "branch": text("branch", branch),
}
default = default_decode_config(opened.checkpoint.model)
config = read_request(opened.run.id, "", default=default, **asked).config
user_id = blocks.interesting_user(opened, config) if user is None else text("user", user)
request = read_request(opened.run.id, str(user_id), default=default, **asked)
trace = request.decoded(opened)
titles = opened.dataset.title
target = trace.about["targets"][0] or None
blocks.show_table(blocks.history_table(opened, trace, num_shown=15))
print(f"Held out: {titles(target) if target else 'nothing, this user is too new'}")
if request.edits:
    print(f"The model reads this history after these edits: {', '.join(request.edits)}")
for left in trace.about.get("branches", []):
    print(f"A branch of {left['parent']}, after step {left['change']}")

# %% [markdown]
# ## The rule
#
# A *rule* decides which slots are filled in a step. The model only says, for every masked slot, how probable each item
# is; items of the history and items that stand in another slot are never allowed.

# %%
knobs = {name: trace.config[name] for name in RULES[config.rule].knobs}
print(f"{config.rule} {RULES[config.rule].summary}.")
print(f"Its knobs: {', '.join(f'{name} = {value}' for name, value in knobs.items()) or 'none'}.")
print(f"Where it comes from: {RULES[config.rule].source}.")

# %% [markdown]
# ## Before the first step
#
# Every slot is a mask, but for those into which you pinned an item. The slots look alike, but each has a position of
# its own, so the model may expect different items in them.

# %%
trace_figures.slot_strip(trace, None, titles, target=target).show()

# %% [markdown]
# ## Step by step
#
# What each step did. The percentage is the model's probability of the item among all that were allowed, at the moment
# when the slot was filled. With most rules a slot that is filled stays so: an early mistake is never taken back
# (`workbench rules` names those that revise).

# %%
for step in range(trace.num_steps):
    print(tables.step_in_words(trace, step, titles), end="\n\n")

# %% [markdown]
# The same as a table, slots against steps: □ is still a mask, ● was filled in this step (bold), ■ earlier. In
# JupyterLab there are buttons above it to step and to play.

# %%
stepper.show_steps(trace, titles, target=target)

# %% [markdown]
# The slots after the first step, half way, and at the end. A pale bar belongs to a slot that is still masked: the item
# in brackets is what it leans to.

# %%
for step in sorted({0, trace.num_steps // 2, trace.num_steps - 1}):
    trace_figures.slot_strip(trace, step, titles, target=target).show()

# %% [markdown]
# ## Everything at once: slots against steps
#
# Read a row from left to right: how sure the slot became while its neighbours were filled. A thick edge marks the step
# at which it was filled. Numbers say at which place of the slot's candidates the held-out item stood.

# %%
trace_figures.slot_step_matrix(trace, "probability", titles=titles, target=target).show()

# %% [markdown]
# ## What the first slot that was filled had to choose from
#
# If the bars are all short, the model did not know: it took the best of many items that it held to be about as likely.

# %%
first = blocks.own_slots(trace)[0]
trace_figures.candidates_bar(trace, int(trace.filled_at[0, first]), first, titles, target=target).show()

# %% [markdown]
# ## What became of the right answer
#
# A decoded list can miss the held-out item in two ways: no slot ever considered it, or one did and took something else.

# %%
if target:
    trace_figures.truth_figure(trace, target).show()
    print(replay.truth_in_words(trace, target, titles))

# %% [markdown]
# When it stood best, and what became of it then. Only slots that were still open count: nothing is taken from a slot
# that holds an item.

# %%
if target and "target_forbidden_after" not in trace.about:
    fate = decode_analysis.truth(trace, trace.filled_at.new_tensor([target]))
    words = f"It is {decode_analysis.FATES[int(fate.fate[0])]}"
    if int(fate.rank[0]):
        words += (
            f"; it stood best in step {int(fate.step[0]) + 1}, as number {int(fate.rank[0])} of slot "
            f"{int(fate.slot[0]) + 1}, at {percent(float(fate.probability[0]))}"
        )
    print(f"{words}.")

# %% [markdown]
# ## Would it choose so again?
#
# Each slot is asked once more, with all the others as they ended. An item that it would not choose again was committed
# too early: that is *regret*.

# %%
regretted = decoding_study.regrets(opened, trace)
for slot in regretted.nonzero()[0].tolist():
    print(f"slot {slot + 1} regrets “{titles(int(trace.steps[-1].tokens[0, slot]))}”")
print(f"{int(regretted.sum())} of {trace.num_slots} slots regret their item.")

# %% [markdown]
# ## How undecided it was
#
# The mean entropy of the slots that were open when a step began, in nats: the more, the more items are about as likely.
# The number of duplicates is how many slots wanted what another open one wanted too.

# %%
entropy = decode_analysis.entropy_over_steps(trace)[:, 0]
course = pd.DataFrame(
    {
        "setting": config.rule,
        "step": range(1, trace.num_steps + 1),
        "entropy": entropy.tolist(),
        "duplicates": decode_analysis.duplicates(trace)[:, 0].tolist(),
    }
)
decoding_figures.over(course, x="step", y="entropy", title="Entropy of the open slots, nats").show()
blocks.show_table(course.drop(columns="setting").round(3))

# %% [markdown]
# ## To keep
#
# The trace and a page that plays it (open it in any browser; it needs no network) are written into the run; of a
# branch the traces that it comes from, too.

# %%
for ancestor in request.lineage[:-1]:
    parent = ancestor.decoded(opened)
    opened.run.save_trace(trace_name(parent), parent)
path = opened.run.save_trace(trace_name(trace), trace)
page = path.with_name(f"{path.name}.html")
heading = f"User {user_id}: {config.rule}, {trace.num_slots} slots in {trace.num_steps} steps"
played = replay.replay_html(trace, titles, target=target, title=heading)
page.write_text(played, encoding="utf-8")
print(f"{path}.safetensors\n{page}")

# %% [markdown]
# The same page here: play it, move with the arrow keys, point at a slot for its candidates.

# %%
blocks.show_page(played, height=760)

# %% [markdown]
# ## Answer
#
# The list is ordered by how sure the model was of each item when it took it, unless the knob `rank_by` says otherwise.

# %%
blocks.show_table(blocks.list_table(trace, titles, target=target))
blocks.answer(
    "How did the model come to this user's list, and was the right answer there?",
    blocks.decode_in_words(trace, titles, target=target),
)
