"""The hidden middle of clips: fillings against a slow independent calculation."""

import numpy as np
import pytest
import torch

from kinema.errors import RecipeError
from kinema.methods.interpolation import filling_errors, fillings, middle_masking
from kinema.modules.transformer import patchify, unpatchify
from kinema.targets.masking import Masking, random_masking, temporal_masking

GRID, PATCH = (4, 2, 2), (2, 4, 4)
SIZE = (8, 8, 8)


def clips(count=2, seed=0):
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled_in(movies, masking):
    patches = patchify(movies, PATCH)
    predicted = torch.full((*masking.hidden.shape, patches.shape[-1]), 7.0, dtype=torch.float64)
    return fillings(patches, predicted, masking, GRID, PATCH[0]), patches


def slowly(movie, hidden):
    """One pixel after the other: [T] values and bool [T] to the nearest, the blend and the mean."""
    seen = [t for t in range(len(movie)) if not hidden[t]]
    found = np.stack([movie, movie, movie])
    for t in np.flatnonzero(hidden):
        near = min(seen, key=lambda s: (abs(s - t), s))
        before, after = [s for s in seen if s < t], [s for s in seen if s > t]
        line = movie[near]
        if before and after:
            a, b = before[-1], after[0]
            line = movie[a] + (t - a) / (b - a) * (movie[b] - movie[a])
        found[:, t] = movie[near], line, np.mean(movie[seen])
    return found


@pytest.mark.parametrize("kind", ["middle", "odd", "end", "random"])
def test_fillings_are_those_of_a_slow_calculation(kind):
    masking = {
        "middle": lambda: middle_masking(2, GRID, 0.5),
        "odd": lambda: middle_masking(2, GRID, 0.25),
        "end": lambda: temporal_masking(2, 16, 0.5),
        "random": lambda: random_masking(torch.rand(2, 16, generator=torch.Generator().manual_seed(3)), 0.4),
    }[kind]()
    movies = clips()
    found, patches = filled_in(movies, masking)
    hidden = unpatchify(masking.mask[..., None].expand(-1, -1, patches.shape[-1]), GRID, PATCH)
    assert kind != "random" or not hidden.all(2).any()
    shown = [unpatchify(part, GRID, PATCH) for part in (found.nearest, found.blend, found.mean)]
    for b, c, y, x in np.ndindex(2, 3, 8, 8):
        expected = slowly(movies[b, c, :, y, x].numpy(), hidden[b, c, :, y, x].numpy())
        np.testing.assert_allclose(torch.stack([part[b, c, :, y, x] for part in shown]).numpy(), expected, atol=1e-12)
    network = unpatchify(found.network, GRID, PATCH)
    assert torch.equal(network, torch.where(hidden, 7.0, movies))


def test_errors_count_hidden_patches_alone():
    masking = middle_masking(2, GRID, 0.5)
    found, patches = filled_in(clips(), masking)
    hidden = unpatchify(masking.mask[..., None].expand(-1, -1, patches.shape[-1]), GRID, PATCH)
    for name, error in filling_errors(found, patches, masking).items():
        wrong = unpatchify(getattr(found, name), GRID, PATCH) - clips()
        assert float(error) == pytest.approx(float(wrong[hidden].square().mean()))
    assert set(found._fields) == {"network", "nearest", "blend", "mean"}


def test_a_blend_is_right_where_colours_change_evenly_and_a_copy_where_nothing_moves():
    masking = middle_masking(1, GRID, 0.5)
    ramp = torch.arange(8.0, dtype=torch.float64).view(1, 1, 8, 1, 1).expand(1, 3, *SIZE)
    found, patches = filled_in(ramp, masking)
    errors = filling_errors(found, patches, masking)
    # Frames 2 to 5 are hidden: copies of 1 and 6 are off by 1, 2, 2, 1; the mean is 3.5.
    assert errors["blend"] == pytest.approx(0, abs=1e-12)
    assert errors["nearest"] == pytest.approx((1 + 4 + 4 + 1) / 4)
    assert errors["mean"] == pytest.approx((1.5**2 + 0.5**2) / 2)
    still = clips()[:, :, :1].expand(-1, -1, 8, -1, -1)
    found, patches = filled_in(still, middle_masking(2, GRID, 0.5))
    assert torch.equal(found.nearest, patches) and torch.equal(found.blend, patches)
    torch.testing.assert_close(found.mean, patches)


def test_the_published_middles():
    rows = {0.25: [0, 0, 0, 256, 256, 0, 0, 0], 0.5: [0, 0, 256, 256, 256, 256, 0, 0]}
    for share, hidden in rows.items():
        assert middle_masking(1, (8, 16, 16), share).mask.view(8, 256).sum(1).tolist() == hidden
    halves = middle_masking(1, (8, 16, 16), 0.125).mask.view(8, 16, 16).all(2)
    assert halves[3].tolist() == [False] * 8 + [True] * 8
    assert halves[4].tolist() == [True] * 8 + [False] * 8 and halves.sum() == 16


def test_a_place_that_is_never_seen_cannot_be_filled():
    assert isinstance(middle_masking(1, GRID, 0.75), Masking)
    with pytest.raises(RecipeError, match=r"interpolate=0\.8"):
        middle_masking(1, GRID, 0.8)
