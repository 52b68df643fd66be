"""The whole view with kornia's own numbers: geometry, jitter in its order, greyscale, blur and solarisation at once."""

import pytest
import torch

from benchmarks.views import FRAMES, HEIGHT, WIDTH, draws_of, ours, stock_chain
from tests.views.pictures import picture_clips


@pytest.mark.parametrize("seed", [0, 2])
def test_the_exact_view_equals_kornias_chain(seed):
    stock = pytest.importorskip("kornia.augmentation", reason="kornia is not installed")
    clips = picture_clips(6, frames=FRAMES, height=HEIGHT, width=WIDTH).float() / 255
    torch.manual_seed(seed)
    chain = stock.VideoSequential(*stock_chain(32), data_format="BCTHW", same_on_frame=True)
    wanted = chain(clips)
    draws = draws_of(chain._params, FRAMES)
    for name in ("flip", "grey", "sigma", "solarised"):
        assert draws[name].any() and not draws[name].all()
    found = ours(32, exact=True).apply(clips, draws)
    assert (found - wanted).abs().mean() < 1e-5
    # A value on solarisation's threshold may fall on either side of it.
    assert ((found - wanted).abs() > 1e-3).float().mean() < 1e-4
