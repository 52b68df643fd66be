"""The whole pipeline: draws by name, one draw per clip, both ways equal, and the parts in their order."""

import numpy as np
import pytest
import torch

from kinema.data.sample import collate
from kinema.errors import RecipeError
from kinema.randomness import numpy_generator
from kinema.views import (
    Blur,
    CentreCrop,
    ClipAugment,
    ColourJitter,
    Gamma,
    Kernel,
    MultiView,
    Photometric,
    RandomCrop,
    ResizedCrop,
    WholeFrame,
    resample,
)
from kinema.views.affine import rotation_matrix, warp
from kinema.views.colour_exact import adjust_contrast, to_grey
from kinema.views.filters import gaussian_blur, solarise
from tests.views.pictures import picture_clips

FRAME, SIZE = (24, 32), (12, 14)
COLOURS = Photometric(ColourJitter(0.4, 0.4, 0.4, 0.1, p=0.8), 0.2, Gamma(p=0.3), Blur(0.5, taps=9), 0.3)
STRONG = ClipAugment(SIZE, ResizedCrop((0.3, 1.0)), photometric=COLOURS)


def drawn(view, count=3, *, frame=FRAME, seed=0, **options):
    """The draws of `count` clips, batched as the loader does."""
    return collate([view.draw(numpy_generator(seed, i), frame, **options) for i in range(count)])


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 10.0])
def test_a_view_is_a_float_clip_in_the_unit_range(clips, exact, rotation):
    jitter = ColourJitter(0.8, 0.8, 0.8, 0.2, exact=exact)
    view = ClipAugment(SIZE, rotation=rotation, photometric=Photometric(jitter, 0.5, None, Blur(taps=5), 0.5))
    out = view.apply(clips, drawn(view))
    assert out.shape == (3, 3, 2, *SIZE) and out.dtype == torch.float32
    assert out.min() >= 0 and out.max() <= 1 and out.std() > 0.05


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("exact", [False, True])
def test_masking_equals_leaving_out(dtype, exact, masked):
    clips = picture_clips(8)
    clips = clips if dtype == torch.uint8 else clips.float() / 255
    jitter = ColourJitter(0.4, 0.4, 0.4, 0.1, p=0.6, exact=exact)
    view = ClipAugment(SIZE, photometric=Photometric(jitter, 0.4, Gamma(p=0.3), Blur(taps=9), 0.3))
    draws = drawn(view, 8)
    shared = view.geometry(clips, draws)
    first = view.colours(shared, draws)
    masked()
    second = view.colours(shared, draws)
    assert (first - second).abs().mean() < 1e-6
    # A value on the threshold of solarisation may fall on either side of it.
    assert ((first - second).abs() > 1e-4).float().mean() < 1e-3


def test_every_device_agrees(clips, device):
    draws = drawn(STRONG)
    there = STRONG.apply(clips.to(device), {name: value.to(device) for name, value in draws.items()}).cpu()
    assert (there - STRONG.apply(clips, draws)).abs().mean() < 2e-3


def test_draws_may_still_be_on_the_host(clips, device):
    assert STRONG.apply(clips.to(device), drawn(STRONG)).device.type == device


def test_a_static_clip_stays_static_and_clips_differ(clips):
    still = clips[:1, :, :1].expand(6, -1, 4, -1, -1).contiguous()
    out = STRONG.apply(still, drawn(STRONG, 6))
    assert torch.equal(out, out[:, :, :1].expand_as(out))
    assert not any(torch.equal(out[0], other) for other in out[1:])


@pytest.mark.parametrize("pivot", ["clip", "frame", "channel"])
@pytest.mark.parametrize("rotation", [0.0, 10.0])
def test_a_clip_does_not_depend_on_its_batch(pivot, rotation):
    clips = picture_clips(16)
    jitter = ColourJitter(0.4, 0.4, 0.4, 0.1, p=0.6, each=0.6, pivot=pivot)
    colours = Photometric(jitter, 0.5, None, Blur(0.3, taps=5))
    view = ClipAugment(SIZE, ResizedCrop((0.3, 1.0)), rotation=rotation, photometric=colours)
    draws = drawn(view, 16)
    same, grey = (draws["factors"] == torch.tensor([1.0, 1.0, 1.0, 0.0])).all(1), draws["grey"]
    assert all(bool((one & other).any()) for one in (same, ~same) for other in (grey, ~grey))
    whole = view.apply(clips, draws)
    for i in range(16):
        alone = view.apply(clips[i : i + 1], {name: value[i : i + 1] for name, value in draws.items()})
        assert torch.equal(alone[0], whole[i])


def test_the_input_is_never_changed(clips):
    floats = clips.float() / 255
    before = floats.clone()
    view = ClipAugment(FRAME, WholeFrame(), flip=0.0, photometric=COLOURS)
    view.apply(floats, drawn(view))
    assert torch.equal(floats, before)


def test_nothing_to_do_gives_the_crop_in_the_unit_range(clips):
    view = ClipAugment(SIZE, CentreCrop(), flip=0.0)
    draws = drawn(view)
    assert set(draws) == {"box", "flip"}
    wanted = resample(clips, draws["box"], None, SIZE)
    assert torch.equal(view.geometry(clips, draws), wanted)
    torch.testing.assert_close(view.apply(clips, draws), wanted.float() / 255)


def test_operations_are_done_in_their_order(clips):
    jitter = ColourJitter(contrast=(1.5, 1.5), exact=True)
    parts = {"colour": jitter, "grey": 1.0, "blur": Blur(1.0, (1.0, 1.0), taps=5), "solarise": 1.0}
    floats = clips.float() / 255
    always, sigma = torch.ones(3, dtype=torch.bool), torch.ones(3)

    def run(*order):
        return Photometric(**parts, order=order).apply(clips, draws)

    draws = collate([Photometric(**parts).draw(numpy_generator(0)) for _ in range(3)])
    grey = to_grey(floats).expand_as(floats)
    first = solarise(gaussian_blur(adjust_contrast(grey, sigma * 1.5), sigma, taps=5), always)
    torch.testing.assert_close(run("grey", "colour", "blur", "solarise"), first, atol=1e-5, rtol=0)
    turned = adjust_contrast(solarise(gaussian_blur(floats, sigma, taps=5), always), sigma * 1.5)
    second = to_grey(turned).expand_as(turned)
    torch.testing.assert_close(run("blur", "solarise", "colour", "grey"), second, atol=1e-5, rtol=0)


def test_linear_jitter_and_grey_before_a_blur_equal_their_exact_forms_where_nothing_is_cut():
    clips = (64 + picture_clips() / 4).to(torch.uint8)
    fast, slow = (
        Photometric(ColourJitter(0.2, 0.2, 0.2, exact=exact), 0.5, None, Blur(taps=5)) for exact in (False, True)
    )
    draws = collate([fast.draw(numpy_generator(i)) for i in range(3)])
    torch.testing.assert_close(fast.apply(clips, draws), slow.apply(clips, draws), atol=1e-5, rtol=0)


@pytest.mark.parametrize("corner", [None, (9.0, 9.0, 9.0)])
def test_rotation_comes_before_the_crop(clips, corner):
    view = ClipAugment(SIZE, RandomCrop(), flip=0.0, rotation=30.0, fill=corner)
    draws = drawn(view)
    assert draws["angle"].abs().max() <= 30 and len(draws["angle"].unique()) == 3
    turned = warp(clips.float(), rotation_matrix(draws["angle"], FRAME), FRAME, fill=corner)
    wanted = resample(turned, draws["box"], None, SIZE)
    assert (view.geometry(clips, draws) - wanted).abs().max() < 1.01


def test_masks_flow_and_boxes_share_the_geometry(clips):
    view = ClipAugment(SIZE, ResizedCrop((0.3, 0.6)), flip=1.0, kernel=Kernel("bicubic", antialias=True))
    draws = drawn(view)
    masks = (clips[:, :1] > 127).long()
    assert set(view.masks(masks, draws).unique().tolist()) == {0, 1}
    flow = view.flow(torch.ones(3, 2, 1, *FRAME), draws)
    torch.testing.assert_close(flow[:, 0, 0, 0, 0], -SIZE[1] / draws["box"][:, 3].float())
    box = view.boxes(torch.tensor([[[0.0, 0.0, 32.0, 24.0]]] * 3), draws)
    assert torch.equal(box[:, 0], torch.tensor([0.0, 0, SIZE[1], SIZE[0]]).expand(3, 4))


def test_rotation_and_flow_do_not_go_together(clips):
    view = ClipAugment(SIZE, rotation=5.0)
    draws = drawn(view)
    assert view.masks(clips[:, :1], draws).shape == (3, 1, 2, *SIZE)
    with pytest.raises(RecipeError, match="rotation"):
        view.flow(torch.zeros(3, 2, 1, *FRAME), draws)
    with pytest.raises(RecipeError, match="rotation"):
        view.boxes(torch.zeros(3, 1, 4), draws)


def test_a_crop_may_be_drawn_in_the_shape_of_the_video():
    view = ClipAugment(SIZE, ResizedCrop((0.2, 0.4), (1.0, 1.0)))
    box = drawn(view, 40, measured=(48, 128))["box"]
    assert box.is_floating_point()
    # Square in the video, which the reader squeezed to half its height and a quarter of its width.
    torch.testing.assert_close(box[:, 2] * 2, box[:, 3] * 4)
    assert not drawn(view, 1, measured=FRAME)["box"].is_floating_point()


def test_draws_are_pure_functions_of_the_key():
    first, again = drawn(STRONG, 4), drawn(STRONG, 4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["factors"], drawn(STRONG, 4, seed=1)["factors"])


def test_several_views_are_drawn_apart(clips):
    part = ClipAugment((6, 6), ResizedCrop((0.05, 0.4)))
    views = MultiView.multi_crop(STRONG, part, wholes=2, parts=3)
    draws = collate([views.draw(numpy_generator(i), FRAME) for i in range(3)])
    out = views.apply(clips, draws)
    assert [tuple(view.shape[-2:]) for view in out] == [SIZE, SIZE, (6, 6), (6, 6), (6, 6)]
    assert not torch.equal(out[0], out[1]) and not torch.equal(out[2], out[3])
    assert torch.equal(out[3], part.apply(clips, draws, prefix="view3_"))


def test_unknown_and_forgotten_operations_are_refused():
    with pytest.raises(RecipeError, match="solarise"):
        Photometric(order=("solarize",))
    with pytest.raises(RecipeError, match="leaves out"):
        Photometric(grey=0.2, order=("colour",))


def test_probabilities_are_kept():
    draws = collate([COLOURS.draw(numpy_generator("p", i)) for i in range(2000)])
    shares = [draws["grey"], draws["power"] != 1, draws["sigma"] > 0, draws["solarised"]]
    assert np.mean([share.float().mean() for share in shares]) == pytest.approx(0.325, abs=0.02)
    for share, p in zip(shares, (0.2, 0.3, 0.5, 0.3), strict=True):
        assert share.float().mean() == pytest.approx(p, abs=0.04)


@pytest.mark.parametrize("flip", [-0.1, 1.5])
def test_a_mirror_has_a_probability(flip):
    with pytest.raises(RecipeError, match="a probability lies in"):
        ClipAugment((8, 8), flip=flip)
