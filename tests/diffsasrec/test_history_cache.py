"""What is kept of a history changes nothing: against the whole network, read anew."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from diffsasrec.backbone import BackboneConfig, Transformer
from diffsasrec.decoding import DecodeConfig, decode
from diffsasrec.history_cache import BidirectionalReader, BidirectionalReading, CausalReader, CausalReading
from diffsasrec.models import build_model

NUM_ITEMS, NUM_SLOTS = 30, 4


def make_transformer(attention: str, *, num_blocks: int = 2, num_heads: int = 2) -> Transformer:
    torch.manual_seed(3)
    size = {"width": 12, "num_blocks": num_blocks, "num_heads": num_heads, "dropout": 0.0}
    transformer = Transformer(BackboneConfig(max_length=24, attention=attention, **size), NUM_ITEMS).eval()
    for weights in transformer.parameters():  # far from where training starts: attention looks at something
        weights.data.normal_(std=0.5)
    return transformer.requires_grad_(False)


def make_users(num_users: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return histories (B, 20) of every length from 20 down to 1, and slots of which some are filled."""
    generator = torch.Generator().manual_seed(0)
    history = torch.randint(1, NUM_ITEMS + 1, (num_users, 20), generator=generator)
    for user in range(num_users):
        history[user, : (7 * user) % 20] = 0
    slots = torch.randint(1, NUM_ITEMS + 2, (num_users, NUM_SLOTS), generator=generator)
    return history, slots.where(slots % 2 == 0, NUM_ITEMS + 1)


def read_anew(transformer: Transformer, history: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    return transformer(torch.cat([history, slots], dim=1))[:, -NUM_SLOTS:]


def causal_history(transformer: Transformer, history: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """Return the states of slots that see everything, behind a history that sees nothing behind it: by a mask."""
    tokens = torch.cat([history, slots], dim=1)
    num_positions, length = tokens.shape[1], history.shape[1]
    allowed = torch.ones(num_positions, num_positions, dtype=torch.bool).tril()
    allowed[length:] = True
    allowed = (allowed & (tokens != 0)[:, None, None]) | torch.eye(num_positions, dtype=torch.bool)
    hidden = transformer.embed(tokens)
    for block in transformer.blocks:
        query, key, value = block.project(hidden)
        hidden = block.finish(
            hidden, functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        )
    return transformer.final_norm(hidden)[:, -NUM_SLOTS:]


@pytest.mark.parametrize(
    ("reading", "reference", "attention"),
    [
        (BidirectionalReading, read_anew, "bidirectional"),
        (CausalReading, causal_history, "causal"),
    ],
)
@pytest.mark.parametrize(("num_blocks", "num_heads"), [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("num_users", [1, 40])
def test_slots_behind_a_history_that_was_read_once_have_the_states_of_the_whole_network(
    reading, reference, attention, num_blocks, num_heads, num_users
) -> None:
    transformer = make_transformer(attention, num_blocks=num_blocks, num_heads=num_heads)
    history, slots = make_users(num_users)
    expected = reference(transformer, history, slots)
    kept = reading(transformer, history, num_slots=NUM_SLOTS)
    everybody = torch.arange(num_users)
    torch.testing.assert_close(kept.slot_states(everybody, slots), expected)
    some = everybody[::3]
    torch.testing.assert_close(kept.slot_states(some, slots[some]), expected[some])
    kept.retain(some)
    torch.testing.assert_close(kept.slot_states(some, slots[some]), expected[some])
    fewer = some[-1:]
    torch.testing.assert_close(kept.slot_states(fewer, slots[fewer]), expected[fewer])


@pytest.mark.parametrize("reading", [BidirectionalReading, CausalReading])
def test_slots_may_change_from_step_to_step(reading) -> None:
    attention, reference = {
        BidirectionalReading: ("bidirectional", read_anew),
        CausalReading: ("causal", causal_history),
    }[reading]
    transformer = make_transformer(attention)
    history, slots = make_users(5)
    kept = reading(transformer, history, num_slots=NUM_SLOTS)
    for step, now in enumerate([slots, slots.roll(1, dims=1), slots.roll(1, dims=0)]):
        found = kept.slot_states(torch.arange(5), now, step=step)
        torch.testing.assert_close(found, reference(transformer, history, now))


def test_a_user_may_come_several_times_with_different_slots() -> None:
    transformer = make_transformer("bidirectional")
    history, slots = make_users(3)
    kept = BidirectionalReading(transformer, history, num_slots=NUM_SLOTS)
    users = torch.tensor([0, 0, 2])
    found = kept.slot_states(users, slots)
    torch.testing.assert_close(found, read_anew(transformer, history[users], slots))


def test_padding_of_any_length_changes_nothing() -> None:
    transformer = make_transformer("bidirectional")
    history, slots = make_users(6)
    users = torch.arange(6)
    plain = BidirectionalReading(transformer, history, num_slots=NUM_SLOTS).slot_states(users, slots)
    for user in range(6):
        own = history[user][history[user] > 0][None]
        alone = BidirectionalReading(transformer, own, num_slots=NUM_SLOTS)
        torch.testing.assert_close(alone.slot_states(torch.tensor([0]), slots[user, None]), plain[user, None])


def test_keys_and_values_that_are_kept_for_some_steps_are_made_anew_in_the_next() -> None:
    transformer = make_transformer("bidirectional")
    history, slots = make_users(4)
    users, others = torch.arange(4), slots.roll(1, dims=1)
    kept = BidirectionalReading(transformer, history, num_slots=NUM_SLOTS, refresh=2)
    expected = read_anew(transformer, history, others)
    torch.testing.assert_close(kept.slot_states(users, slots, step=0), read_anew(transformer, history, slots))
    stale = kept.slot_states(users, others, step=1)
    assert (stale - expected).abs().max() > 1e-3
    torch.testing.assert_close(kept.slot_states(users, others, step=2), expected)
    torch.testing.assert_close(kept.slot_states(users, others, step=3), expected)  # nothing has changed since


def test_what_is_kept_of_users_who_sit_a_step_out_is_as_old_as_their_last_pass() -> None:
    transformer = make_transformer("bidirectional")
    history, slots = make_users(4)
    users, some, others = torch.arange(4), torch.tensor([1, 2]), slots.roll(1, dims=1)
    together = BidirectionalReading(transformer, history, num_slots=NUM_SLOTS, refresh=2)
    alone = BidirectionalReading(transformer, history[some], num_slots=NUM_SLOTS, refresh=2)
    together.slot_states(users, slots, step=0)
    alone.slot_states(torch.arange(2), slots[some], step=0)
    for step, now in ((2, others), (3, slots)):
        torch.testing.assert_close(
            together.slot_states(some, now[some], step=step),
            alone.slot_states(torch.arange(2), now[some], step=step),
        )


def test_lists_of_a_few_users_leave_what_is_kept_of_the_others() -> None:
    transformer = make_transformer("bidirectional")
    history, slots = make_users(4)
    last, lists = torch.tensor([3]), torch.tensor([0, 0, 1, 1])  # as many rows as there are users
    together = BidirectionalReading(transformer, history, num_slots=NUM_SLOTS, refresh=2)
    alone = BidirectionalReading(transformer, history[last], num_slots=NUM_SLOTS, refresh=2)
    together.slot_states(torch.arange(4), slots, step=0)
    alone.slot_states(torch.tensor([0]), slots[last], step=0)
    together.slot_states(lists, slots.roll(1, dims=1), step=2)
    now = slots[last].roll(2, dims=1)
    torch.testing.assert_close(
        together.slot_states(last, now, step=3), alone.slot_states(torch.tensor([0]), now, step=3)
    )


def test_with_one_block_keeping_keys_and_values_is_exact() -> None:
    transformer = make_transformer("bidirectional", num_blocks=1)
    history, slots = make_users(4)
    kept = BidirectionalReading(transformer, history, num_slots=NUM_SLOTS, refresh=9)
    for step in range(3):
        now = slots.roll(step, dims=1)
        found = kept.slot_states(torch.arange(4), now, step=step)
        torch.testing.assert_close(found, read_anew(transformer, history, now))


@pytest.mark.parametrize("rule", ["threshold_decay", "low_confidence", "remask", "refine", "beam"])
@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_a_decode_from_what_was_kept_is_the_decode_of_the_whole_network(rule: str, guidance: float) -> None:
    transformer = make_transformer("bidirectional")
    history, _ = make_users(40)
    knobs = {"beam_width": 3} if rule == "beam" else {}
    config = DecodeConfig(rule=rule, num_slots=NUM_SLOTS, guidance=guidance, **knobs)
    given = {"num_items": NUM_ITEMS, "user_seeds": torch.arange(40), "config": config}
    ours = decode(BidirectionalReader(transformer), history, **given)
    plain = decode(
        lambda tokens: transformer.item_logits(transformer(tokens)[:, -NUM_SLOTS:]), history, **given
    )
    assert torch.equal(ours.filled_at, plain.filled_at)
    assert torch.equal(ours.steps[-1].tokens, plain.steps[-1].tokens)
    for found, expected in zip(ours.steps, plain.steps, strict=True):
        torch.testing.assert_close(found.probability, expected.probability, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.entropy, expected.entropy, atol=1e-4, rtol=1e-4)


def test_the_prefix_cache_gives_a_user_the_same_list_in_any_batch() -> None:
    size = {"max_length": 24, "width": 12, "num_blocks": 2, "num_heads": 2}
    model = build_model("diffsasrec", size | {"fine_tune_slots": NUM_SLOTS}, NUM_ITEMS).eval()
    history, _ = make_users(12)
    config = DecodeConfig(num_slots=NUM_SLOTS, refresh=3)
    together = model.decode(history, forbidden=None, user_seeds=torch.arange(12), config=config)
    for user in range(12):
        seeds = torch.tensor([user])
        alone = model.decode(history[user, None], forbidden=None, user_seeds=seeds, config=config)
        assert torch.equal(alone.steps[-1].tokens[0], together.steps[-1].tokens[user])


def test_more_positions_than_there_are_embeddings_of_is_an_error() -> None:
    transformer = make_transformer("bidirectional")
    with pytest.raises(ValueError, match="25 positions are not between 1 and max_length=24"):
        BidirectionalReading(transformer, torch.ones(1, 21, dtype=torch.long), num_slots=NUM_SLOTS)


def test_a_causal_history_needs_no_prefix_cache_and_says_so() -> None:
    reader = CausalReader(make_transformer("causal"))
    with pytest.warns(
        UserWarning, match="refresh=2 has no effect here: a causal history is read once anyway"
    ):
        reader.read(torch.ones(1, 3, dtype=torch.long), num_slots=NUM_SLOTS, refresh=2)
