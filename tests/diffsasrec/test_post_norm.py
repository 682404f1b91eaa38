"""Post-norm blocks against torch's own, and the last position alone against all of them."""

from __future__ import annotations

import pytest
import torch

from diffsasrec.attention_patterns import all_before
from diffsasrec.backbone import BackboneConfig
from diffsasrec.post_norm import MLPDenoiser, PostNormBlock, TransformerDenoiser

CONFIG = BackboneConfig(max_length=6, width=8, num_blocks=2, num_heads=2, dropout=0.1)
IS_REAL = torch.tensor([[False, False, True, True, True], [True] * 5])


def test_a_block_is_torchs_encoder_layer_with_its_norms_behind() -> None:
    torch.manual_seed(0)
    block = PostNormBlock(CONFIG).eval()
    reference = torch.nn.TransformerEncoderLayer(8, 2, 32, activation="gelu", batch_first=True).eval()
    reference.load_state_dict(
        {
            "self_attn.in_proj_weight": block.query_key_value.weight,
            "self_attn.in_proj_bias": block.query_key_value.bias,
            "self_attn.out_proj.weight": block.attention_output.weight,
            "self_attn.out_proj.bias": block.attention_output.bias,
            "linear1.weight": block.feed_forward[0].weight,
            "linear1.bias": block.feed_forward[0].bias,
            "linear2.weight": block.feed_forward[2].weight,
            "linear2.bias": block.feed_forward[2].bias,
            "norm1.weight": block.attention_norm.weight,
            "norm1.bias": block.attention_norm.bias,
            "norm2.weight": block.feed_forward_norm.weight,
            "norm2.bias": block.feed_forward_norm.bias,
        }
    )
    hidden = torch.randn(2, 5, 8)
    allowed = all_before(torch.ones(2, 5, dtype=torch.bool))
    with torch.no_grad():
        found, expected = block(hidden, allowed), reference(hidden, src_mask=~allowed[0, 0])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("denoiser", [TransformerDenoiser, MLPDenoiser])
def test_the_last_position_alone_gets_what_it_gets_among_all(denoiser) -> None:
    torch.manual_seed(0)
    network = denoiser(CONFIG).eval()
    noised, allowed = torch.randn(2, 5, 8), all_before(IS_REAL)
    with torch.no_grad():
        whole = network.denoise(noised, allowed)
        known = network.known(noised[:, :-1], allowed[:, :, :-1, :-1])
        last = network.denoise_last(noised[:, -1:], known, allowed[:, :, -1:])
    torch.testing.assert_close(last, whole[:, -1:])


@pytest.mark.parametrize("denoiser", [TransformerDenoiser, MLPDenoiser])
def test_nothing_is_known_before_a_single_position(denoiser) -> None:
    network = denoiser(CONFIG).eval()
    noised, allowed = torch.randn(2, 1, 8), all_before(IS_REAL[:, -1:])
    with torch.no_grad():
        known = network.known(noised[:, :-1], allowed[:, :, :-1, :-1])
        last = network.denoise_last(noised, known, allowed)
    torch.testing.assert_close(last, network.denoise(noised, allowed))


@pytest.mark.parametrize("denoiser", [TransformerDenoiser, MLPDenoiser])
def test_the_future_and_pad_change_nothing(denoiser) -> None:
    network = denoiser(CONFIG).eval()
    noised = torch.randn(2, 5, 8)
    other = noised.clone()
    other[:, 4] = 7.0
    other[0, :2] = -7.0
    with torch.no_grad():
        before, after = (network.denoise(each, all_before(IS_REAL)) for each in (noised, other))
    torch.testing.assert_close(before[:, 2:4], after[:, 2:4])
    assert float((before[:, 4] - after[:, 4]).abs().max()) > 1e-2
