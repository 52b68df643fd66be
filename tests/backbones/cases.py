"""Every network beside its second implementation: name, options, function of (Named, clip, width)."""

from functools import partial

from tests.backbones import public, public_light

WIDTH = 8
CASES = {
    "c3d": ("c3d", {}, public.c3d),
    "c3d_prp": ("c3d", {}, public.prp_c3d),
    "c3d_light": ("c3d_light", {}, public.c3d_light),
    "r3d": ("r3d", {"layers": (1, 2, 1, 3)}, partial(public.vcop, layers=(1, 2, 1, 3))),
    "r2plus1d": ("r2plus1d", {"layers": (2, 1, 2, 1)}, partial(public.vcop, layers=(2, 1, 2, 1), factored=True)),
    "r3d_18": ("r3d_18", {}, public.torchvision),
    "mc3_18": ("mc3_18", {}, partial(public.torchvision, kind="mc3")),
    "r2plus1d_18": ("r2plus1d_18", {}, partial(public.torchvision, kind="r2plus1d")),
    "resnet3d_18": ("resnet3d_18", {"shortcut": "B", "conv1_kernel": 7}, public.hara),
    "resnet3d_18 A": (
        "resnet3d_18",
        {"shortcut": "A", "conv1_kernel": 3},
        partial(public.hara, shortcut="A", kernel=3),
    ),
    "resnet3d_34": ("resnet3d_34", {"shortcut": "B", "conv1_kernel": 7}, partial(public.hara, layers=(3, 4, 6, 3))),
    "resnet3d_50": (
        "resnet3d_50",
        {"shortcut": "B", "conv1_kernel": 7},
        partial(public.hara, layers=(3, 4, 6, 3), bottleneck=True),
    ),
    "s3d": ("s3d", {}, partial(public_light.s3d, flavour=public_light.coclr_s3d)),
    "s3d torchvision": (
        "s3d",
        {"norm_eps": 1e-3, "norm_momentum": 1e-3},
        partial(public_light.s3d, flavour=public_light.torchvision),
    ),
    "s3dg": ("s3dg", {}, partial(public_light.s3d, flavour=public_light.coclr)),
    "s3dg_pace": ("s3dg_pace", {}, partial(public_light.s3d, flavour=public_light.pace)),
    "s3dg_rspnet": ("s3dg_rspnet", {}, partial(public_light.s3d, flavour=public_light.rspnet)),
    "shufflenet": ("shufflenet", {"groups": 3}, public_light.shufflenet),
    "mobilenet_v2": ("mobilenet_v2", {}, public_light.mobilenet),
    "squeezenet": ("squeezenet", {}, public_light.squeezenet),
}
"""What published code names; the state dict of each converts to the backbone with exactly these options and width 8."""
UNNAMED = {
    "r3d_50": ("r3d_50", {}, public.cvrl),
    "r3d_50 same": ("r3d_50", {"padding": "same"}, partial(public.cvrl, same=True)),
    "resnet3d_18 stem": (
        "resnet3d_18",
        {"conv1_kernel": 5, "conv1_stride": 2, "max_pool": False},
        partial(public.hara, kernel=5, step=2, pool=False),
    ),
    "shufflenet g=1": ("shufflenet", {"groups": 1}, partial(public_light.shufflenet, groups=1)),
    # 1.0x, whose first unit is not grouped because the stem has 24 channels
    "shufflenet g=2": ("shufflenet", {"groups": 2, "width": 32}, partial(public_light.shufflenet, groups=2)),
}
"""Networks and options without a published layout of their own."""


def norm_eps(case):
    """The epsilon of a case's published batch normalisation."""
    return 1e-3 if case in ("s3d torchvision", "s3dg_rspnet") else 1e-5
