"""A finished run in memory: decoding one user, with pins, edits and branches, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.decoding import DecodeConfig
from diffsasrec.evaluation import evaluate
from diffsasrec.sampling import SampleConfig
from diffsasrec.trace import PINNED, DecodeTrace
from tests.diffsasrec.decode_cases import assert_same_steps
from tests.workbench.small_runs import tiny
from workbench.experiments import evaluate_run, run_experiment
from workbench.open_runs import (
    decode_user,
    default_decode_config,
    open_run,
    recommend_user,
    trace_name,
)
from workbench.runs import Run


def test_a_user_of_an_embedding_diffusion_is_sampled_and_the_trace_named(sampled):
    trace = decode_user(sampled, 7)
    assert (trace.kind, trace.num_steps, trace.num_slots) == ("gaussian", 6, 1)
    assert trace.recommendations().items.shape == (1, 4)
    assert trace_name(trace).startswith("user-7-gaussian-")
    sampled.save_trace(trace_name(trace), trace)
    assert len(sampled.traces()) == 1
    assert decode_user(sampled, 7, SampleConfig(list_length=3, num_steps=2)).num_steps == 2
    with pytest.raises(ValueError, match="has no slots to pin items to"):
        decode_user(sampled, 7, pinned={1: 120})
    with pytest.raises(ValueError, match="is decoded by a SampleConfig, got a DecodeConfig"):
        decode_user(sampled, 7, DecodeConfig(num_slots=2))


def test_a_user_is_recommended_the_list_that_is_judged(world):
    """Of an embedding diffusion too, which draws for each user: lambda is as large as it is uncertain here."""
    settings = {"uncertainty": 1.0, "num_noise_steps": 6, "num_prefixes": 1}
    run = open_run(run_experiment(tiny(world, "diffurec", **settings), runs_dir=world.runs))
    judged = evaluate(run.checkpoint.model, run.split, "test", num_recommendations=5, max_users=20).per_user
    for user_id, target, rank in zip(judged["user_id"], judged["target"], judged["rank"], strict=True):
        made = recommend_user(run, user_id, way="topk", num_recommendations=18)
        (place,) = (made.items[0] == run.catalogue.token_of(target)).nonzero(as_tuple=True)
        assert place.tolist() == ([rank - 1] if rank <= 18 else [])


def test_a_decode_says_whose_it_is(trained):
    trace = decode_user(trained["diffsasrec"], 7)
    opened = open_run(trained["diffsasrec"])
    assert trace.num_slots == default_decode_config(opened.checkpoint.model).num_slots == 4
    tokens, _ = opened.dataset.interactions.sequence(opened.dataset.interactions.user_row(7))
    assert trace.about["targets"] == [tokens[-1]]
    assert trace.about["user_ids"] == [7]
    assert trace.about["run"] == trained["diffsasrec"].id
    assert trace.history[0].tolist() == tokens[-5:-1].tolist()
    assert not set(trace.steps[-1].tokens[0].tolist()) & set(tokens[:-1].tolist())


def test_a_decode_is_the_same_from_a_run_and_from_an_open_one_and_survives_a_file(trained, tmp_path):
    run = trained["diffsasrec"]
    first, second = decode_user(run, "7"), decode_user(open_run(run), 7)
    assert torch.equal(first.steps[-1].tokens, second.steps[-1].tokens)
    name = trace_name(first)
    assert name == trace_name(second) != trace_name(decode_user(run, 8))
    run.save_trace(name, first)
    loaded = run.load_trace(name)
    assert isinstance(loaded, DecodeTrace)
    assert loaded.about == first.about


def test_pinned_and_forbidden_items_are_kept_to_and_told_and_name_another_trace(trained):
    run = open_run(trained["diffsasrec"])
    free = decode_user(run, 7)
    unwanted = run.catalogue.item_id(int(free.recommendations().items[0, 0]))
    trace = decode_user(run, 7, pinned={2: "126"}, forbidden_too=[unwanted])
    assert run.catalogue.item_id(int(trace.steps[0].tokens[0, 1])) == 126
    assert trace.filled_at[0].tolist()[1] == PINNED
    assert run.catalogue.token_of(unwanted) not in trace.steps[-1].tokens[0].tolist()
    assert (trace.about["pinned"], trace.about["forbidden_too"]) == ({"2": 126}, [unwanted])
    assert (free.about["pinned"], free.about["forbidden_too"]) == ({}, [])
    names = {trace_name(made) for made in (free, trace, decode_user(run, 7, pinned={2: 126}))}
    assert len(names) == 3
    assert trace.user(0).about == trace.about


def test_a_seen_item_can_be_pinned_where_seen_items_may_be_recommended(trained):
    seen = 106  # user 7 walks on from it
    with pytest.raises(ValueError, match="it is in the history already"):
        decode_user(trained["diffsasrec"], 7, pinned={1: seen})
    trace = decode_user(trained["diffsasrec"], 7, pinned={1: seen}, filter_seen=False)
    assert trace.about["pinned"] == {"1": seen}


def test_a_user_with_nothing_held_out_is_decoded_from_all_there_is(trained):
    trace = decode_user(trained["diffsasrec"], 61)
    assert trace.about["targets"] == [0]
    assert (trace.history[0] > 0).sum() == 2


@pytest.mark.parametrize(
    ("user", "config", "message"),
    [
        (6100, DecodeConfig(num_slots=2), "unknown user 6100"),
        ("nobody", DecodeConfig(num_slots=2), "unknown user 'nobody'"),
        (62, DecodeConfig(num_slots=2), "history of 1 item"),
        (7, DecodeConfig(num_slots=8), "between 1 and 7"),
        (7, DecodeConfig(num_slots=31), "between 1 and 7"),
    ],
)
def test_a_decode_that_cannot_be_says_why_in_one_sentence(trained, user, config, message):
    with pytest.raises(ValueError, match=message) as caught:
        decode_user(trained["diffsasrec"], user, config)
    assert "\n" not in str(caught.value)


def test_more_slots_than_the_catalogue_holds_are_refused(world, tmp_path):
    run = run_experiment(tiny(world, "diffsasrec", max_length=50, max_epochs=1), runs_dir=tmp_path)
    with pytest.raises(ValueError, match="more than the"):
        decode_user(run, 7, DecodeConfig(num_slots=31))


def test_a_model_without_a_reverse_process_names_those_that_have_one(trained):
    with pytest.raises(ValueError, match="choose a run of diffsasrec"):
        decode_user(trained["sasrec"], 7)


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95", b"\0" * 200])
def test_a_broken_checkpoint_is_one_clear_sentence(world, tmp_path, content):
    run = run_experiment(tiny(world, "popularity"), runs_dir=tmp_path)
    (run.folder / "best" / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="never loaded"):
        evaluate_run(run)
    assert Run.open(tmp_path, run.id).status == "done"


def test_an_edited_history_is_decoded_with_the_same_draws(trained):
    run = open_run(trained["diffsasrec"])
    config = default_decode_config(run.checkpoint.model, rule="random", num_slots=3, temperature=1.0)
    plain = decode_user(run, 7, config)
    turned = decode_user(run, 7, config, edits=["move 1=2", "move 2=1"])
    assert_same_steps(plain.steps, turned.steps)
    shorter = decode_user(run, 7, config, edits=["remove 1"])
    assert torch.equal(shorter.history[0, -3:], plain.history[0, -4:-1])
    assert torch.equal(shorter.steps[0].score, plain.steps[0].score)  # the random order is the draws'
    assert shorter.about["edits"] == ["remove 1"]
    assert trace_name(shorter) != trace_name(plain)


def test_an_item_that_was_removed_from_the_history_may_be_recommended(trained):
    run = open_run(trained["diffsasrec"])
    latest = int(decode_user(run, 7).history[0, -1])
    item_id = run.catalogue.item_id(latest)
    with pytest.raises(ValueError, match="in the history already"):
        decode_user(run, 7, pinned={1: item_id})
    pinned = decode_user(run, 7, edits=["remove 1"], pinned={1: item_id})
    assert int(pinned.steps[-1].tokens[0, 0]) == latest


def test_a_branch_keeps_its_parent(trained):
    run = open_run(trained["diffsasrec"])
    config = default_decode_config(run.checkpoint.model, rule="low_confidence", num_slots=4)
    parent = decode_user(run, 7, config)
    held = parent.steps[1].tokens[0].tolist()
    seen = {*parent.history[0].tolist(), *held}
    item = next(token for token in range(1, 31) if token not in seen)
    slot = held.index(31)  # MASK: still open
    change = f"2: pin {slot + 1}={run.catalogue.item_id(item)}"
    branch = decode_user(run, 7, config, branches=[change])
    assert branch.about["branches"] == [{"parent": trace_name(parent), "change": change}]
    assert_same_steps(parent.steps[:2], branch.steps[:2])
    assert int(branch.steps[2].tokens[0, slot]) == item


def test_a_branch_of_a_branch_keeps_both_parents_by_id_whoever_names_items_by_title(trained):
    run = open_run(trained["diffsasrec"])
    config = default_decode_config(run.checkpoint.model, rule="low_confidence", num_slots=4)
    parent = decode_user(run, 7, config)
    final = parent.steps[-1].tokens[0].tolist()
    last = int(parent.filled_at[0].argmax())  # the slot that is filled in the last step
    item = run.catalogue.item_id(final[last])
    title = run.catalogue.title(final[last])
    first = decode_user(run, 7, config, branches=[f"1: forbid {title}"])
    other = run.catalogue.item_id(int(first.steps[-1].tokens[0, int(first.filled_at[0].argmax())]))
    both = decode_user(run, 7, config, branches=[f"2: forbid {other}", f"1: forbid {item}"])
    assert both.about["branches"] == [
        {"parent": trace_name(parent), "change": f"1: forbid {item}"},
        {"parent": trace_name(first), "change": f"2: forbid {other}"},
    ]
    assert_same_steps(first.steps[:2], both.steps[:2])
    assert not {final[last], run.catalogue.token_of(other)} & {*both.steps[-1].tokens[0].tolist()}


def test_a_branch_that_forbids_what_could_not_come_warns_and_changes_nothing(trained):
    run = open_run(trained["diffsasrec"])
    config = default_decode_config(run.checkpoint.model, rule="low_confidence", num_slots=4)
    parent = decode_user(run, 7, config)
    seen = run.catalogue.item_id(int(parent.history[0, -1]))
    with pytest.warns(UserWarning, match="has no effect: it is in the history already"):
        branch = decode_user(run, 7, config, branches=[f"1: forbid {seen}"])
    assert_same_steps(parent.steps, branch.steps)


@pytest.mark.parametrize(
    ("rule", "branches", "words"),
    [
        (
            "low_confidence",
            ["4: forbid 101"],
            "nothing is left to decode after step 4: what this branch would leave takes 4 steps",
        ),
        ("low_confidence", ["1: forbid nothing"], "unknown item 'nothing'"),
        ("beam", ["90: pin 9=101"], "follows several lists .*: branch from another rule"),
    ],
)
def test_a_branch_that_cannot_be_is_refused(trained, rule, branches, words):
    run = open_run(trained["diffsasrec"])
    config = default_decode_config(run.checkpoint.model, rule=rule, num_slots=4)
    with pytest.raises(ValueError, match=words):
        decode_user(run, 7, config, branches=branches)
