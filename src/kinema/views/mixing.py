"""MixUp and CutMix of clips with their labels, and the mixing of one frame into a whole clip.

MixUp: Zhang et al., ICLR 2018. CutMix: Yun et al., ICCV 2019; a box is cut through all frames. A clip's partner is its
mirror in the batch (the first with the last), as in timm, so that nothing need be gathered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from kinema.errors import RecipeError
from kinema.views.geometry import Size, box_mask
from kinema.views.masking import over_clip


@dataclass(frozen=True)
class Mixing:
    """Configuration.

    Attributes:
        mixup: alpha of the Beta distribution of MixUp's share; 0 for no MixUp.
        cutmix: alpha of CutMix's; 0 for no CutMix.
        p: probability of any mixing.
        switch: probability of CutMix where both are on.
        smoothing: of the labels: the right class gets 1 - smoothing, and smoothing is spread over all.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    p: float = 1.0
    switch: float = 0.5
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        if self.mixup < 0 or self.cutmix < 0 or not self.mixup + self.cutmix:
            raise RecipeError(f"mixup={self.mixup}, cutmix={self.cutmix}: give alphas from 0, not both 0")

    def draw(self, rng: np.random.Generator, size: Size) -> dict[str, npt.NDArray[Any]]:
        """A clip's own share and the partner's box, empty for MixUp, for frames of `size`.

        Drawn in `plan`, every clip has its own (timm's "elem"); drawn once in `prepare`, all share them ("batch").
        """
        drawn, cuts = rng.random() < self.p, rng.random() < (self.switch if self.mixup and self.cutmix else self.cutmix)
        alpha = self.cutmix if cuts else self.mixup
        share = float(rng.beta(alpha, alpha))
        box = _cut_box(rng, size, share)
        if not drawn:
            share, box = 1.0, np.zeros(4, np.int64)
        elif cuts:
            # What the borders cut off stays the clip's own.
            share = 1 - int(box[2] * box[3]) / (size[0] * size[1])
        else:
            box = np.zeros(4, np.int64)
        return {"share": np.array(share, np.float32), "cut": box, "cuts": np.array(drawn and cuts)}

    def apply(self, clips: Tensor, draws: Mapping[str, Any]) -> Tensor:
        """Floating clips [B, C, T, H, W] mixed with those in reverse order; one draw may stand for all clips."""
        share, box, cuts = (_for_all(draws[name], clips) for name in ("share", "cut", "cuts"))
        # Where a box is cut, the rest of the clip stays whole.
        blend = torch.where(cuts, torch.ones_like(share), share)
        own = torch.where(box_mask(box, (clips.shape[-2], clips.shape[-1])), 0.0, over_clip(blend, clips))
        return torch.lerp(clips.flip(0), clips, own.to(clips.dtype))

    def labels(self, classes: Tensor, draws: Mapping[str, Any], count: int) -> Tensor:
        """Class numbers int64 [B] as the mixed, smoothed targets float [B, count]."""
        share = _for_all(draws["share"], classes)
        smooth = one_hot(classes, count).float() * (1 - self.smoothing) + self.smoothing / count
        return torch.lerp(smooth.flip(0), smooth, share.view(-1, 1))


def mix_frame(clips: Tensor, frame: Tensor, amount: Tensor) -> Tensor:
    """Blend one frame of each clip into all of its frames: (1 - amount) x_t + amount x_frame.

    TDL's "temporally consistent augmentation" (frame uniform, amount from [0, 0.1]).

    Args:
        clips: floating [B, C, T, H, W].
        frame: int64 [B].
        amount: float [B].
    """
    chosen = clips.gather(2, frame.view(-1, 1, 1, 1, 1).expand(-1, clips.shape[1], 1, *clips.shape[3:]))
    return torch.lerp(clips, chosen.expand_as(clips), over_clip(amount.to(clips.dtype), clips))


def _cut_box(rng: np.random.Generator, size: Size, share: float) -> npt.NDArray[np.int64]:
    """A box of 1 - share of the frame about a uniform centre, cut at the borders."""
    height, width = (int(side * math.sqrt(1 - share)) for side in size)
    middle = rng.integers(size[0]), rng.integers(size[1])
    top, bottom = (int(np.clip(middle[0] + end, 0, size[0])) for end in (-(height // 2), height // 2))
    left, right = (int(np.clip(middle[1] + end, 0, size[1])) for end in (-(width // 2), width // 2))
    return np.array([top, left, bottom - top, right - left])


def _for_all(draw: Tensor, clips: Tensor) -> Tensor:
    """A drawn number per clip, or one for all of them, as one per clip."""
    draw = draw.to(clips.device, non_blocking=True)
    rank = 1 if draw.dtype == torch.int64 else 0
    return draw if draw.ndim > rank else draw.expand(len(clips), *draw.shape)
