"""Networks against independent second implementations, by the cross-check formulas."""

import pytest
import torch

from kinema.backbones import build_backbone, formula_clip, formula_fill
from tests.backbones import cases
from tests.backbones.public import Named

ALL = cases.CASES | cases.UNNAMED


@pytest.mark.parametrize("case", ALL)
def test_formula_filled_networks_agree_with_a_second_implementation(case):
    name, options, network = ALL[case]
    options = {"width": cases.WIDTH} | options
    backbone = formula_fill(build_backbone(name, **options).double()).eval()
    clip = formula_clip((1, 3, 16, 40, 48)).double()
    expected = network(Named(formula=True, eps=cases.norm_eps(case)), clip, options["width"])
    own = backbone.forward_stages(clip)
    assert len(own) == len(expected) == 5
    for ours, theirs in zip(own, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * theirs.abs().max().item())
        assert theirs.std() > 1e-4 * theirs.abs().mean()  # the comparison has something to compare
    torch.testing.assert_close(backbone(clip), expected[-1].mean((2, 3, 4)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", ["c3d", "r3d", "s3dg_pace", "r3d_50 same", "squeezenet", "mobilenet_v2"])
def test_odd_sizes_agree_too(case):
    name, options, network = ALL[case]
    backbone = formula_fill(build_backbone(name, width=cases.WIDTH, **options).double()).eval()
    clip = formula_clip((1, 3, 9, 33, 45)).double()
    expected = network(Named(formula=True), clip, cases.WIDTH)
    for ours, theirs in zip(backbone.forward_stages(clip), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * theirs.abs().max().item())
