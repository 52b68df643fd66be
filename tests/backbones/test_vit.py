"""Vision transformers: published sizes, visible tokens alone, positions of other clips."""

import pytest
import torch

from kinema.backbones.vit import VIT_SIZES, VisionTransformer
from kinema.errors import RecipeError
from kinema.modules.transformer import patchify, unpatchify
from kinema.modules.transformer.positions import index_table, resample, space_table
from kinema.targets.masking import centre_masking, random_masking, temporal_masking, tube_masking


@pytest.mark.parametrize(
    ("name", "count"),
    [("small", 21_879_936), ("base", 86_227_200), ("large", 303_860_736), ("huge", 631_607_040)],
)
def test_published_sizes_have_the_published_numbers_of_parameters(name, count):
    size = VIT_SIZES[name]
    with torch.device("meta"):
        trunk = VisionTransformer(width=size.width, depth=size.depth, heads=size.heads)
    assert sum(p.numel() for p in trunk.parameters()) == count


def tiny(**options):
    torch.manual_seed(0)
    return VisionTransformer((4, 32, 32), (2, 16, 16), width=24, depth=2, heads=3, **options).eval()


@pytest.mark.parametrize("options", [{}, {"positions": "separable", "class_token": True, "bias": "all"}])
def test_visible_tokens_alone_equal_a_clip_in_which_nothing_else_exists(options):
    trunk = tiny(**options)
    clips = torch.randn(2, 3, 4, 32, 32)
    everything = torch.arange(8).expand(2, -1)
    torch.testing.assert_close(trunk(clips, everything), trunk(clips))
    kept = torch.tensor([[1, 4, 6], [0, 2, 7]])
    changed = unpatchify(patchify(clips, trunk.patch).index_fill(1, torch.tensor([3, 5]), 9.0), trunk.grid, trunk.patch)
    torch.testing.assert_close(trunk(changed, kept), trunk(clips, kept))
    assert trunk(clips, kept).shape == (2, 3 + trunk.class_token, 24)


def test_the_embedding_is_the_convolution_whose_kernel_is_its_stride():
    trunk, clips = tiny(), torch.randn(2, 3, 4, 32, 32)
    expected = trunk.patch_embed.proj(clips).flatten(2).transpose(1, 2)
    torch.testing.assert_close(trunk.patch_embed(patchify(clips, trunk.patch)), expected)


def test_patches_are_in_the_order_frame_row_column_channel():
    clips = torch.arange(2 * 3 * 4 * 8 * 8).reshape(2, 3, 4, 8, 8)
    tokens = patchify(clips, (2, 4, 4))
    assert tokens[0, 0, :6].tolist() == [0, 256, 512, 1, 257, 513]
    assert torch.equal(unpatchify(tokens, (2, 2, 2), (2, 4, 4)), clips)


def test_tables_are_as_published():
    table = index_table(1568, 48)
    assert table[0].tolist() == [0.0, 1.0] * 24
    numbers = torch.arange(1568, dtype=torch.float64)
    torch.testing.assert_close(table[:, 0], numbers.sin().float())
    torch.testing.assert_close(table[:, 1], numbers.cos().float())
    space = space_table(3, 5, 8)
    # Columns first: tokens of one column share the first half, tokens of one row the second.
    assert torch.equal(space[0, :4], space[5, :4])
    assert torch.equal(space[0, 4:], space[1, 4:])
    torch.testing.assert_close(space[1, 0], torch.tensor(1.0).sin())


def test_clips_of_another_size_get_resampled_positions():
    ramp = torch.arange(4.0)[:, None, None] * 100 + torch.arange(6.0)[:, None] * 10 + torch.arange(6.0)
    smooth = resample(ramp.reshape(-1, 1), (4, 6, 6), (8, 12, 12)).reshape(8, 12, 12)
    # Away from the border a ramp climbs as much over two new positions as over one old one.
    inner = smooth[2:6, 4:8, 4:8]
    torch.testing.assert_close(inner.diff(dim=0), torch.full((3, 4, 4), 50.0))
    torch.testing.assert_close(inner[..., 2:] - inner[..., :-2], torch.ones(4, 4, 2), atol=1e-3, rtol=0)
    for positions in ("index", "separable", "space"):
        assert tiny(positions=positions)(torch.randn(1, 3, 8, 48, 64)).shape == (1, 4 * 3 * 4, 24)


def test_separable_positions_are_a_sum():
    trunk = tiny(positions="separable")
    before = trunk.positions()
    with torch.no_grad():
        trunk.positions.temporal[0, 1] += 1.0
    moved = trunk.positions() - before
    torch.testing.assert_close(moved.reshape(2, 4, 24)[1], torch.ones(4, 24))
    assert not moved.reshape(2, 4, 24)[0].any()


def test_clips_that_patches_do_not_fill_are_refused():
    with pytest.raises(RecipeError, match="cannot be cut"):
        tiny()(torch.randn(1, 3, 4, 30, 32))


def test_masks_have_the_published_counts():
    noise = torch.rand(3, 2048, generator=torch.Generator().manual_seed(0))
    for ratio, kept in ((0.9, 204), (0.95, 102)):
        masking = random_masking(noise, ratio)
        assert masking.mask.sum(1).tolist() == [2048 - kept] * 3
        assert torch.equal(masking.kept, (~masking.mask).nonzero()[:, 1].view(3, -1))
        assert torch.equal(masking.hidden, masking.mask.nonzero()[:, 1].view(3, -1))
    for ratio, hidden in ((0.9, 176), (0.75, 147), (0.5, 98)):
        slices = tube_masking(noise[:, :196], 8, ratio).mask.view(3, 8, 196)
        assert torch.equal(slices, slices[:, :1].expand_as(slices))
        assert slices[0, 0].sum() == hidden
    assert tube_masking(noise[:, :15], 2, 0.9).mask[0, :15].sum() == 13
    assert centre_masking(1, 2048, 0.25).mask.view(8, 256).sum(1).tolist() == [0, 0, 0, 256, 256, 0, 0, 0]
    eighth = centre_masking(1, 2048, 0.125).mask.view(8, 2, 128).sum(2)
    assert eighth[3].tolist() == [0, 128]
    assert eighth[4].tolist() == [128, 0]
    assert temporal_masking(1, 2048, 0.25).mask.view(8, 256).sum(1).tolist() == [0] * 6 + [256, 256]
    with pytest.raises(RecipeError, match="0 of 8"):
        random_masking(torch.rand(1, 8), 0.9)
