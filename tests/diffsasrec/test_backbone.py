"""The transformer: padding and future that change nothing, and fused attention against a naive one."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from diffsasrec.backbone import BackboneConfig, Transformer

NUM_ITEMS = 12
MASK = NUM_ITEMS + 1
PATTERNS = ("causal", "bidirectional")


def make_transformer(attention: str, *, num_heads: int = 2, dropout: float = 0.0, **knobs) -> Transformer:
    """Return a network with weights large enough for every position and item to matter."""
    torch.manual_seed(0)
    config = BackboneConfig(
        max_length=knobs.pop("max_length", 10),
        width=16,
        num_blocks=2,
        num_heads=num_heads,
        dropout=dropout,
        attention=attention,
        **knobs,
    )
    transformer = Transformer(config, NUM_ITEMS).eval()
    with torch.no_grad():
        for parameter in transformer.parameters():
            if parameter.dim() == 2:
                parameter.mul_(15)
        transformer.item_embedding.weight[0].zero_()
    return transformer


@pytest.fixture(params=PATTERNS)
def transformer(request) -> Transformer:
    return make_transformer(request.param)


@torch.no_grad()
def hidden_of(transformer: Transformer, *rows: list[int]) -> torch.Tensor:
    return transformer(torch.tensor(rows))


def assert_close(left: torch.Tensor, right: torch.Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


def assert_differs(left: torch.Tensor, right: torch.Tensor) -> None:
    assert float((left - right).abs().max()) > 1e-3


@torch.no_grad()
def test_hidden_states_and_logits_have_the_shapes_of_the_contract(transformer: Transformer) -> None:
    hidden = transformer(torch.tensor([[0, 1, 2], [3, 4, 5]]))
    assert hidden.shape == (2, 3, 16)
    assert transformer.item_logits(hidden).shape == (2, 3, NUM_ITEMS)
    assert transformer.item_logits(hidden[:, -1]).shape == (2, NUM_ITEMS)


def test_more_left_padding_changes_nothing(transformer: Transformer) -> None:
    bare = hidden_of(transformer, [5, 3, 8])
    for padding in range(1, 8):
        padded = hidden_of(transformer, [0] * padding + [5, 3, 8])
        assert_close(padded[:, -3:], bare)


def test_a_longer_neighbour_changes_nothing(transformer: Transformer) -> None:
    both = hidden_of(transformer, [0, 0, 0, 5, 3, 8], [1, 2, 3, 4, 5, 6])
    assert_close(both[:1, -3:], hidden_of(transformer, [5, 3, 8]))
    assert_close(both[1:], hidden_of(transformer, [1, 2, 3, 4, 5, 6]))


def test_what_stands_in_the_embedding_of_pad_changes_nothing(transformer: Transformer) -> None:
    before = hidden_of(transformer, [0, 0, 5, 3, 8])[:, -3:]
    with torch.no_grad():
        transformer.item_embedding.weight[0] = 100.0
    assert_close(hidden_of(transformer, [0, 0, 5, 3, 8])[:, -3:], before)


def test_a_row_of_padding_alone_gives_numbers_not_nan(transformer: Transformer) -> None:
    assert bool(torch.isfinite(hidden_of(transformer, [0, 0, 0], [0, 1, 2])).all())


def test_a_causal_network_does_not_see_the_future() -> None:
    transformer = make_transformer("causal")
    for padding in ([], [0, 0]):
        base = hidden_of(transformer, [*padding, 1, 2, 3, 4])
        changed = hidden_of(transformer, [*padding, 1, 2, 9, 7])
        past = len(padding) + 2
        assert_close(changed[:, len(padding) : past], base[:, len(padding) : past])
        assert_differs(changed[:, past], base[:, past])
        assert_differs(changed[:, -1], base[:, -1])


def test_a_bidirectional_network_sees_both_ways() -> None:
    transformer = make_transformer("bidirectional")
    base = hidden_of(transformer, [0, 1, 2, 3, 4])
    changed = hidden_of(transformer, [0, 1, 2, 3, 9])
    for place in (1, 2, 3):
        assert_differs(changed[:, place], base[:, place])


def test_every_earlier_item_reaches_the_last_position(transformer: Transformer) -> None:
    base = hidden_of(transformer, [1, 2, 3, 4])[:, -1]
    for place in range(4):
        row = [1, 2, 3, 4]
        row[place] = 10
        assert_differs(hidden_of(transformer, row)[:, -1], base)


def test_the_order_of_the_history_matters(transformer: Transformer) -> None:
    assert_differs(hidden_of(transformer, [1, 2, 3])[:, -1], hidden_of(transformer, [2, 1, 3])[:, -1])


def test_positions_count_from_the_right_end(transformer: Transformer) -> None:
    """Moving the last position's embedding moves the last position, whatever the length."""
    rows = [[1, 2, 3, 4], [3, 4]]
    before = [hidden_of(transformer, row)[:, -1] for row in rows]
    with torch.no_grad():
        far = transformer.position_embedding.weight[5:].clone()
        transformer.position_embedding.weight[5:] = far + 1.0
    for row, earlier in zip(rows, before, strict=True):
        assert_close(hidden_of(transformer, row)[:, -1], earlier)
    with torch.no_grad():
        transformer.position_embedding.weight[0] += torch.linspace(-1, 1, 16)
    for row, earlier in zip(rows, before, strict=True):
        assert_differs(hidden_of(transformer, row)[:, -1], earlier)


def test_mask_is_a_token_like_any_other_to_the_attention(transformer: Transformer) -> None:
    base = hidden_of(transformer, [1, 2, MASK])
    assert_differs(hidden_of(transformer, [1, 2, 3])[:, -1], base[:, -1])
    assert bool(torch.isfinite(base).all())


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("attention", PATTERNS)
@pytest.mark.parametrize("padding", [0, 3])
def test_fused_attention_equals_a_naive_implementation(attention: str, num_heads: int, padding: int) -> None:
    transformer = make_transformer(attention, num_heads=num_heads)
    rows = torch.tensor(
        [[0] * padding + [4, 9, 2, 7], [0] * (padding // 2) + [1] * (padding - padding // 2 + 4)]
    )
    with torch.no_grad():
        found = transformer(rows)
        for row, states in zip(rows.tolist(), found, strict=True):
            items = [token for token in row if token != 0]
            expected = naive_forward(transformer, items, causal=attention == "causal")
            assert_close(states[-len(items) :], expected)


def naive_forward(transformer: Transformer, items: list[int], *, causal: bool) -> torch.Tensor:
    """Return the hidden states (L, D) of one sequence without padding, head by head and place by place."""
    length, heads = len(items), transformer.config.num_heads
    size = transformer.config.width // heads
    state = torch.stack(
        [
            transformer.item_embedding.weight[item]
            + transformer.position_embedding.weight[length - 1 - place]
            for place, item in enumerate(items)
        ]
    )
    for block in transformer.blocks:
        projected = block.query_key_value(block.attention_norm(state))  # (L, 3 D)
        query, key, value = projected.split(heads * size, dim=1)
        attended = torch.zeros(length, heads * size)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for place in range(length):
                visible = range(place + 1) if causal else range(length)
                scores = [float(query[place, part] @ key[other, part]) / math.sqrt(size) for other in visible]
                shares = functional.softmax(torch.tensor(scores), dim=0)
                attended[place, part] = sum(
                    share * value[other, part] for share, other in zip(shares, visible, strict=True)
                )
        state = state + block.attention_output(attended)
        state = state + block.feed_forward(block.feed_forward_norm(state))
    return transformer.final_norm(state)


@torch.no_grad()
def test_logits_are_products_with_the_item_embeddings_and_pad_and_mask_have_none(
    transformer: Transformer,
) -> None:
    hidden = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    logits = transformer.item_logits(hidden)
    for column in range(NUM_ITEMS):
        expected = hidden @ transformer.item_embedding.weight[column + 1]  # column j is token j + 1
        assert_close(logits[:, column], expected)
    transformer.item_embedding.weight[MASK] = 50.0
    transformer.item_embedding.weight[0] = 50.0
    assert torch.equal(transformer.item_logits(hidden), logits)


def test_the_weights_are_tied_and_registered_once(transformer: Transformer) -> None:
    tables = [name for name, value in transformer.state_dict().items() if value.shape[0] == NUM_ITEMS + 2]
    assert tables == ["item_embedding.weight"]


def test_pad_starts_at_zero_and_never_learns() -> None:
    transformer = make_transformer("causal")
    hidden = transformer(torch.tensor([[0, 0, 1, 2]]))
    transformer.item_logits(hidden[:, -1]).square().sum().backward()
    assert not bool(transformer.item_embedding.weight[0].any())
    assert float(transformer.item_embedding.weight.grad[0].abs().sum()) == 0.0
    assert float(transformer.item_embedding.weight.grad[1].abs().sum()) > 0.0


@torch.no_grad()
def test_positions_may_be_given(transformer: Transformer) -> None:
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(transformer(tokens, from_right=torch.tensor([2, 1, 0])), transformer(tokens))
    further = transformer(torch.tensor([[1, 2, 3, 4, 5]]))[:, :3]
    given = transformer(tokens, from_right=torch.tensor([4, 3, 2]))
    if transformer.config.attention == "causal":  # the two items behind change nothing
        assert_close(given, further)
    assert_differs(given, transformer(tokens))
    twice = transformer(torch.tensor([[1, 1]]), from_right=torch.tensor([3, 3]))
    if transformer.config.attention == "bidirectional":
        assert_close(twice[:, 0], twice[:, 1])
    with pytest.raises(ValueError, match=r"11.*max_length=10"):
        transformer(tokens, from_right=torch.tensor([10, 1, 0]))


@torch.no_grad()
def test_a_pattern_may_be_given_for_one_row_or_for_all(transformer: Transformer) -> None:
    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    alone = torch.eye(4, dtype=torch.bool)[None, None]
    hidden = transformer(tokens, allowed=alone)
    assert_close(hidden[:, 3:], transformer(tokens[:, 3:]))
    assert torch.equal(transformer(tokens, allowed=alone.expand(2, 1, 4, 4)), hidden)
    causal = torch.ones(4, 4, dtype=torch.bool).tril()[None, None]
    assert_close(transformer(tokens, allowed=causal), make_transformer("causal")(tokens))


@pytest.mark.parametrize("attention", PATTERNS)
def test_dropout_works_in_training_and_not_in_evaluation(attention: str) -> None:
    transformer = make_transformer(attention, dropout=0.5)
    first = hidden_of(transformer, [1, 2, 3])
    assert torch.equal(hidden_of(transformer, [1, 2, 3]), first)
    transformer.train()
    assert_differs(hidden_of(transformer, [1, 2, 3]), hidden_of(transformer, [1, 2, 3]))


def test_more_positions_than_max_length_are_refused(transformer: Transformer) -> None:
    hidden_of(transformer, [1] * 10)
    with pytest.raises(ValueError, match=r"11.*max_length=10"):
        hidden_of(transformer, [1] * 11)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"max_length": 0}, r"max_length.*1.*0"),
        ({"num_blocks": 0}, r"num_blocks.*1.*0"),
        ({"num_heads": 0}, r"num_heads.*1.*0"),
        ({"width": 0}, r"width.*1.*0"),
        ({"width": 10, "num_heads": 4}, r"width.*num_heads=4.*10"),
        ({"dropout": 1.0}, r"dropout.*1.*1\.0"),
        ({"dropout": -0.1}, r"dropout.*0.*-0\.1"),
        ({"dropout": math.nan}, r"dropout.*nan"),
        ({"attention": "casual"}, r"casual.*did you mean 'causal'"),
    ],
)
def test_a_bad_size_names_its_range_and_the_value(knobs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BackboneConfig(**({"max_length": 10} | knobs))
