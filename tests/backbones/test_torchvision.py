"""Networks and converted weights against torchvision's own, where it can be imported."""

import pytest
import torch

from kinema.backbones import build_backbone, formula_clip, formula_fill
from kinema.backbones.converters import load_weights


@pytest.fixture(scope="module")
def video():
    """torchvision.models.video; its compiled part often does not match a CPU-only torch, and then fails to import."""
    try:
        from torchvision.models import video
    except Exception as error:
        pytest.skip(f"torchvision cannot be imported: {type(error).__name__}: {error}")
    return video


@pytest.mark.parametrize(
    ("name", "options"), [("r3d_18", {}), ("mc3_18", {}), ("r2plus1d_18", {}), ("s3d", {"norm_eps": 1e-3})]
)
def test_weights_of_torchvision_compute_the_same(video, name, options):
    theirs = getattr(video, name)(weights=None)
    if name == "s3d":
        formula_fill(theirs)  # it starts so small that all it computes is lost in rounding
        trunk = theirs.features
    else:
        trunk = torch.nn.Sequential(theirs.stem, theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4)
    ours = build_backbone(name, **options).eval()
    load_weights(ours, theirs.state_dict())
    clip = formula_clip((1, 3, 16, 64, 64))
    with torch.no_grad():
        expected = trunk.eval()(clip)
        torch.testing.assert_close(ours.forward_map(clip), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
