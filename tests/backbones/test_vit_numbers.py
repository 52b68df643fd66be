"""Transformers against published numbers, and against a second implementation by the cross-check formulas."""

import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from kinema.backbones import VJEPA2, VisionTransformer, count_parameters, formula_clip, formula_fill
from kinema.backbones.vit import VIT_SIZES
from kinema.backbones.vjepa2 import VJEPA2_SIZES
from tests.backbones.public import Named


def meta(name, **options):
    with torch.device("meta"):
        return VisionTransformer(**VIT_SIZES[name]._asdict(), **options)


def giga_macs(trunk):
    with FlopCounterMode(display=False) as counter:
        trunk(torch.empty(1, 3, 16, 224, 224, device="meta"))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(("name", "printed"), [("small", 57), ("base", 180), ("large", 597), ("huge", 1192)])
def test_multiply_accumulates_of_videomae(name, printed):
    assert giga_macs(meta(name)) == pytest.approx(printed, abs=1.1)


def test_the_documented_table_is_that_of_the_code():
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    table = page.partition("## Transformers")[2].partition("## ")[0]
    rows = re.findall(r"\| (\w+) \| ([\d, ]+) \| ([\d,]+) \| (\d+) \|$", table, re.MULTILINE)
    sizes = [(VisionTransformer, name, VIT_SIZES[name]._asdict()) for name in ("small", "base", "large", "huge")]
    sizes += [(VJEPA2, name, size) for name, size in VJEPA2_SIZES.items()]
    assert [row[0] for row in rows] == [name for _, name, _ in sizes]
    for (_, shape, parameters, macs), (network, _, size) in zip(rows, sizes, strict=True):
        with torch.device("meta"):
            trunk = network(**size)
        assert shape == f"{size['width']}, {size['depth']}, {size['heads']}"
        assert parameters == f"{count_parameters(trunk):,}" and int(macs) == round(giga_macs(trunk))


def test_parts_of_the_base_size():
    trunk = meta("base")
    block = trunk.blocks[0]
    assert count_parameters(trunk.patch_embed) == 1_180_416
    assert block.attn.qkv.weight.numel() == 1_769_472
    assert block.attn.q_bias.numel() + block.attn.v_bias.numel() == 1_536
    assert count_parameters(block.attn.proj) == 590_592 and count_parameters(block.mlp) == 4_722_432
    assert count_parameters(block) == 7_087_104 and count_parameters(trunk.norm) == 1_536


def test_a_tenth_of_the_tokens_costs_a_thirteenth():
    trunk = meta("base")
    with FlopCounterMode(display=False) as counter:
        kept = torch.zeros(1, 160, dtype=torch.long, device="meta")
        trunk(torch.empty(1, 3, 16, 224, 224, device="meta"), kept)
    assert giga_macs(trunk) * 2e9 / counter.get_total_flops() == pytest.approx(13, abs=0.5)


def videomae(net, clip, *, width, depth, heads):
    """VideoMAE's encoder under its authors' names, written out."""

    def norm(x, name):
        scale = net.get(f"{name}.weight", (width,), lambda k: 1 + 0.05 * torch.cos(k), None)
        shift = net.get(f"{name}.bias", (width,), lambda k: 0.02 * torch.sin(k), None)
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * scale + shift

    def linear(x, name, out):
        return x @ net.weight(name, (out, x.shape[-1])).T + net.shift(name, out)

    def attention(x, name):
        biases = [net.get(f"{name}.{side}_bias", (width,), lambda k: 0.02 * torch.sin(k), None) for side in "qv"]
        q, k, v = (x @ net.weight(f"{name}.qkv", (3 * width, width)).T).split(width, -1)
        q, v = q + biases[0], v + biases[1]
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
        shares = (q @ k.transpose(-1, -2) / math.sqrt(width // heads)).softmax(-1)
        return linear((shares @ v).transpose(1, 2).flatten(2), f"{name}.proj", width)

    x = net.conv(clip, "patch_embed.proj", width, (2, 16, 16), (2, 16, 16), bias=True)
    x = x.flatten(2).transpose(1, 2)
    places, half = torch.arange(x.shape[1], dtype=torch.float64), torch.arange(width // 2, dtype=torch.float64)
    angles = places[:, None] / 10000 ** (2 * half / width)
    x = x + torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    for number in range(depth):
        start = f"blocks.{number}"
        x = x + attention(norm(x, f"{start}.norm1"), f"{start}.attn")
        hidden = linear(norm(x, f"{start}.norm2"), f"{start}.mlp.fc1", 4 * width)
        x = x + linear(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))), f"{start}.mlp.fc2", width)
    return norm(x, "norm")


class Unpadded(Named):
    """Convolutions of patches have no padding."""

    def conv(self, x, name, width, kernel, stride=1, *, groups=1, bias=False):
        return F.conv3d(x, self.weight(name, (width, x.shape[1], *kernel)), self.shift(name, width), stride)


def test_a_formula_filled_videomae_agrees_with_a_second_implementation():
    trunk = VisionTransformer((4, 48, 48), width=48, depth=3, heads=4)
    trunk = formula_fill(trunk).double().eval()
    clip = formula_clip((1, 3, 4, 48, 48)).double()
    net = Unpadded(formula=True)
    expected = videomae(net, clip, width=48, depth=3, heads=4)
    torch.testing.assert_close(trunk(clip), expected, rtol=1e-5, atol=1e-5)
    assert net.tensors.keys() == trunk.state_dict().keys()
