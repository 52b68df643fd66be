"""The decoder that looks at a reference: order of its parts, first weights, who may look at whom."""

import pytest
import torch
from torch import nn

from kinema.modules.transformer import CrossBlock, CrossDecoder, TokenDecoder


def stock(attention):
    """The same attention as PyTorch's own, whose in-projection is packed."""
    width = attention.proj.in_features
    twin = nn.MultiheadAttention(width, attention.heads, batch_first=True)
    with torch.no_grad():
        if attention.fused:
            twin.in_proj_weight.copy_(attention.qkv.weight)
            twin.in_proj_bias.copy_(attention.qkv.bias)
        else:
            parts = (attention.q, attention.k, attention.v)
            twin.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            twin.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        twin.out_proj.weight.copy_(attention.proj.weight)
        twin.out_proj.bias.copy_(attention.proj.bias)
    return lambda queries, keys: twin(queries, keys, keys)[0]


def disturbed(module):
    """Biases and scales that are not 0 and 1, so that leaving one out shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_block_is_cross_attention_then_mlp_then_self_attention(norm):
    torch.manual_seed(0)
    block = disturbed(CrossBlock(12, 3, hidden=20, norm=norm)).eval()
    q, context = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    cross, itself = stock(block.cross_attn), stock(block.attn)
    mlp, one, two, three = block.mlp, block.norm1, block.norm2, block.norm3
    if norm == "post":
        expected = one(q + cross(q, context))
        expected = two(expected + mlp(expected))
        expected = three(expected + itself(expected, expected))
    else:
        expected = q + cross(one(q), context)
        expected = expected + mlp(two(expected))
        expected = expected + itself(three(expected), three(expected))
    torch.testing.assert_close(block(q, context), expected)


def test_first_weights_are_those_of_packed_projections():
    torch.manual_seed(0)
    width = 64
    decoder = CrossDecoder((1, 2, 2), 32, width=width, depth=2, heads=4, outputs=12)
    packed, square = (6 / (4 * width)) ** 0.5, (6 / (2 * width)) ** 0.5
    for block in decoder.blocks:
        for part in (block.cross_attn.q, block.cross_attn.k, block.cross_attn.v, block.attn.qkv):
            assert 0.95 * packed < part.weight.abs().max() <= packed and not part.bias.any()
        for part in (block.cross_attn.proj, block.attn.proj):
            assert 0.95 * square < part.weight.abs().max() <= square and not part.bias.any()
    assert 0.01 < decoder.ends.mask_token.std() < 0.03


def test_dropout_is_in_the_attentions_within_the_mlp_and_after_each_part():
    """Each place counts: with the others' probability set to 0, the block is still random in training."""
    q, context = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    places = {
        "cross": lambda block: setattr(block.cross_attn, "dropout", 0.5),
        "self": lambda block: setattr(block.attn, "dropout", 0.5),
        "mlp": lambda block: setattr(block.mlp.drop, "p", 0.5),
        "after": lambda block: setattr(block.drop, "p", 0.5),
    }
    for switch in places.values():
        block = CrossBlock(12, 3, hidden=20, dropout=0.0)
        assert torch.equal(block(q, context), block(q, context))
        switch(block)
        assert not torch.equal(block(q, context), block(q, context))
        block.eval()
        assert torch.equal(block(q, context), block(q, context))
    block = CrossBlock(12, 3, hidden=20)
    assert {block.cross_attn.dropout, block.attn.dropout, block.mlp.drop.p, block.drop.p} == {0.1}


def decoding(seed=0):
    torch.manual_seed(seed)
    decoder = disturbed(CrossDecoder((1, 3, 3), 20, width=16, depth=2, heads=2, outputs=6, hidden=24)).eval()
    kept, hidden = torch.tensor([[4, 7], [0, 1]]), torch.tensor([[0, 1, 2, 3, 5, 6, 8], [2, 3, 4, 5, 6, 7, 8]])
    return decoder, torch.randn(2, 3, 20), torch.randn(2, 10, 20), kept, hidden


def test_the_reference_has_no_order_and_no_positions():
    decoder, latent, reference, kept, hidden = decoding()
    before = decoder(latent, reference, kept, hidden)
    assert before.shape == (2, 7, 6)
    torch.testing.assert_close(decoder(latent, reference[:, torch.randperm(10)], kept, hidden), before)
    assert (decoder(latent, reference + 1.0, kept, hidden) - before).abs().max() > 1e-3
    assert (decoder(latent, reference, kept.flip(1), hidden) - before).abs().max() > 1e-3
    # Everyone looks at everyone: also the class token in front counts.
    changed = latent.clone()
    changed[:, 0] += 1.0
    assert (decoder(changed, reference, kept, hidden) - before).abs().max() > 1e-3


def test_without_the_cross_attention_s_output_the_reference_counts_for_nothing():
    decoder, latent, reference, kept, hidden = decoding()
    with torch.no_grad():
        for block in decoder.blocks:
            block.cross_attn.proj.weight.zero_()
    assert torch.equal(decoder(latent, reference, kept, hidden), decoder(latent, reference * 2, kept, hidden))


def test_predictions_follow_the_wanted_order():
    decoder, latent, reference, kept, hidden = decoding()
    order = torch.randperm(7)
    expected = decoder(latent, reference, kept, hidden)[:, order]
    torch.testing.assert_close(decoder(latent, reference, kept, hidden[:, order]), expected)


def test_the_plain_decoder_is_its_three_parts():
    torch.manual_seed(0)
    decoder = TokenDecoder((1, 3, 3), 20, width=16, depth=1, heads=2, outputs=6, positions="space")
    latent, kept, hidden = torch.randn(1, 2, 20), torch.tensor([[4, 7]]), torch.tensor([[0, 1, 2, 3, 5, 6, 8]])
    tokens = decoder.tokens(latent, kept, hidden)
    assert tokens.shape == (1, 9, 16)
    torch.testing.assert_close(decoder(latent, kept, hidden), decoder.read(decoder.blocks[0](tokens), 7))
