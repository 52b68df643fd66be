"""V-JEPA 2's encoder equals that of `transformers` with the same weights; its rotations, worked out slowly."""

import math

import pytest
import torch

from kinema.backbones.vjepa2 import VJEPA2, VJEPA2_SIZES
from kinema.methods.encoders import ViTEncoder
from kinema.modules.encoder import EncoderInput
from kinema.modules.transformer.rotary import axis_width, rotary


def tiny(**options):
    torch.manual_seed(0)
    return VJEPA2((4, 32, 48), (2, 16, 16), width=28, depth=2, heads=2, **options).eval()


def turned_slowly(x, place):
    """One head of one token, channel by channel, as the paper's code does it."""
    share = axis_width(len(x))
    out = list(x)
    for axis, position in enumerate(place):
        for channel in range(share):
            rate = 10000.0 ** -((channel % (share // 2)) / (share // 2))
            here = axis * share + channel
            partner = -x[here + 1] if channel % 2 == 0 else x[here - 1]
            out[here] = x[here] * math.cos(position * rate) + partner * math.sin(position * rate)
    return torch.tensor(out)


@pytest.mark.parametrize("width", [14, 15, 64])
def test_rotations_follow_time_row_and_column(width):
    grid = (2, 3, 4)
    x = torch.randn(1, 1, 24, width, generator=torch.Generator().manual_seed(0))
    turned = rotary(grid, width, like=x)(x)
    for token in (0, 7, 23):
        place = (token // 12, token // 4 % 3, token % 4)
        torch.testing.assert_close(turned[0, 0, token], turned_slowly(x[0, 0, token].tolist(), place))
    torch.testing.assert_close(turned[0, 0, 0], x[0, 0, 0])


def test_stretched_places_lie_between_those_of_training():
    x = torch.randn(1, 1, 1, 64).expand(1, 1, 16, 64)
    short, long = rotary((2, 2, 2), 64, like=x)(x[:, :, :8]), rotary((4, 2, 2), 64, stretched_from=(2, 2, 2), like=x)(x)
    torch.testing.assert_close(long[0, 0, 8:12], short[0, 0, 4:])
    assert not torch.allclose(long[0, 0, 4:8], short[0, 0, 4:])


def test_clips_of_other_sizes_and_images_are_taken():
    trunk = tiny()
    encoder = ViTEncoder(trunk, EncoderInput(frames=4, size=(32, 48)))
    clips = torch.randn(2, 3, 4, 32, 48)
    features = encoder(clips, taps=("b1",))
    assert features.map.shape == features.extra["b1"].shape == (2, 28, 2, 2, 3)
    torch.testing.assert_close(features.pooled, trunk(clips).mean(1))
    assert encoder(torch.randn(1, 3, 8, 64, 32)).map.shape == (1, 28, 4, 4, 2)
    image = torch.randn(1, 3, 32, 48)
    torch.testing.assert_close(encoder(image).map, encoder(image.unsqueeze(2).repeat(1, 1, 2, 1, 1)).map)
    # Attention without positions would not tell the order of rows.
    assert not torch.allclose(
        encoder(clips).pooled, encoder(clips.flip(3).unflatten(3, (2, 16)).flip(4).flatten(3, 4)).pooled
    )


def test_stretching_changes_clips_of_other_sizes_only():
    plain, stretched = tiny(), tiny(stretch=True)
    clips, longer = torch.randn(1, 3, 4, 32, 48), torch.randn(1, 3, 8, 32, 48)
    assert torch.equal(plain(clips), stretched(clips))
    assert not torch.allclose(plain(longer), stretched(longer))


def test_branches_of_deeper_blocks_begin_smaller():
    torch.manual_seed(0)
    trunk = VJEPA2((2, 16, 16), width=64, depth=2, heads=2)
    for number, block in enumerate(trunk.blocks, 1):
        for ending in (block.attn.proj, block.mlp.fc2):
            assert float(ending.weight.detach().std() * math.sqrt(2 * number)) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("name", VJEPA2_SIZES)
def test_published_sizes_have_the_numbers_of_parameters_of_transformers(name):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    size = VJEPA2_SIZES[name]
    config = transformers.VJEPA2Config(
        hidden_size=size["width"],
        num_hidden_layers=size["depth"],
        num_attention_heads=size["heads"],
        mlp_ratio=size.get("mlp_ratio", 4.0),
    )
    with torch.device("meta"):
        reference = transformers.models.vjepa2.modeling_vjepa2.VJEPA2Encoder(config)
        trunk = VJEPA2(**size)
    assert sum(p.numel() for p in trunk.parameters()) == sum(p.numel() for p in reference.parameters())
