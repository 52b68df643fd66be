"""The whole of a view: crop, resize, mirror and rotation as one resampling per clip, then its colours.

A method holds a `ClipAugment`, calls `draw` in `plan` and, in `prepare`, `geometry`, its targets, then `colours`; or
`apply`, which is both. `MultiView` holds several: the two views of contrastive methods, global and local crops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from kinema.errors import RecipeError
from kinema.views.affine import chain, rotation_matrix, view_matrix, warp
from kinema.views.crops import CropRule, ResizedCrop, scale_box
from kinema.views.geometry import Size, draw_flip
from kinema.views.photometric import Draws, Photometric
from kinema.views.resampling import BILINEAR, NEAREST, Kernel, resample, resample_boxes, resample_flow

PLAIN = Photometric()
"""Colours as they are."""


@dataclass(frozen=True)
class ClipAugment:
    """A view of a clip. Every number is drawn once per clip and shared by its frames.

    Attributes:
        size: (height, width) of the view.
        crop: which part of the frame it shows.
        flip: probability of a left-right mirror; 0 where directions matter.
        rotation: largest turn in degrees, either way; about the middle of the frame, before the crop.
        fill: (R, G, B) of the corners that a rotation uncovers, in the clips' own range; None repeats the border.
        kernel: interpolation; with a rotation, never antialiased.
        photometric: what is done to the colours.
    """

    size: Size
    crop: CropRule = field(default_factory=ResizedCrop)
    flip: float = 0.5
    rotation: float = 0.0
    fill: tuple[float, float, float] | None = None
    kernel: Kernel = BILINEAR
    photometric: Photometric = PLAIN

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise RecipeError(f"flip={self.flip:g}: a probability lies in [0, 1]")

    def draw(self, rng: np.random.Generator, source: Size, *, measured: Size | None = None, prefix: str = "") -> Draws:
        """The numbers of one clip, by name, for `Sample.draws`.

        Args:
            rng: the sample's generator.
            source: (height, width) of the frames as read.
            measured: the size in which the crop is drawn where it is not `source`: the video's own, when the reader
                does not keep its shape.
            prefix: put before every name.
        """
        box = self.crop.draw(rng, measured or source, self.size)
        if measured and measured != source:
            box = scale_box(box, measured, source)
        draws: Draws = {prefix + "box": box, prefix + "flip": np.array(draw_flip(rng, self.flip))}
        if self.rotation:
            draws[prefix + "angle"] = np.array(rng.uniform(-self.rotation, self.rotation), np.float32)
        return draws | self.photometric.draw(rng, prefix=prefix)

    def apply(self, clips: Tensor, draws: Mapping[str, Any], *, prefix: str = "") -> Tensor:
        """Clips [B, 3, T, H, W], uint8 or floating in [0, 1], as floating views [B, 3, T, *size] in [0, 1]."""
        return self.colours(self.geometry(clips, draws, prefix=prefix), draws, prefix=prefix)

    def geometry(self, clips: Tensor, draws: Mapping[str, Any], *, prefix: str = "") -> Tensor:
        """Crop, resize, mirror and rotation of clips [B, C, T, H, W]; keeps their dtype."""
        return self._look(clips, draws, prefix, self.kernel)

    def colours(self, clips: Tensor, draws: Mapping[str, Any], *, prefix: str = "") -> Tensor:
        """`Photometric.apply` of views [B, 3, T, *size]: floating, in [0, 1]."""
        return self.photometric.apply(clips, draws, prefix=prefix)

    def masks(self, masks: Tensor, draws: Mapping[str, Any], *, prefix: str = "") -> Tensor:
        """The geometry for masks or label maps [B, C, T, H, W], by nearest pixel; uncovered corners are 0."""
        return self._look(masks, draws, prefix, NEAREST)

    def flow(
        self, flow: Tensor, draws: Mapping[str, Any], *, negate_u: bool = True, rescale: bool = True, prefix: str = ""
    ) -> Tensor:
        """The geometry for optical flow [B, 2, T, H, W]; see `resample_flow`.

        Raises:
            RecipeError: with a rotation, which would have to turn the vectors.
        """
        box, flip = self._box("flow", draws, prefix)
        return resample_flow(flow, box, flip, self.size, negate_u=negate_u, rescale=rescale, kernel=self.kernel)

    def boxes(self, boxes: Tensor, draws: Mapping[str, Any], *, clamp: bool = True, prefix: str = "") -> Tensor:
        """The geometry for objects' boxes [B, ..., 4]; see `resample_boxes`.

        Raises:
            RecipeError: with a rotation, under which boxes do not stay boxes.
        """
        box, flip = self._box("boxes", draws, prefix)
        return resample_boxes(boxes, box, flip, self.size, clamp=clamp)

    def _box(self, what: str, draws: Mapping[str, Any], prefix: str) -> tuple[Tensor, Tensor]:
        if self.rotation:
            raise RecipeError(f"rotation={self.rotation}: {what} cannot be turned along; set rotation to 0")
        return draws[prefix + "box"], draws[prefix + "flip"]

    def _look(self, clips: Tensor, draws: Mapping[str, Any], prefix: str, kernel: Kernel) -> Tensor:
        box, flip = draws[prefix + "box"], draws[prefix + "flip"]
        if not self.rotation:
            return resample(clips, box, flip, self.size, kernel)
        box, flip, angle = (n.to(clips.device, non_blocking=True) for n in (box, flip, draws[prefix + "angle"]))
        turn = rotation_matrix(angle, (clips.shape[-2], clips.shape[-1]))
        fill = (0.0,) * clips.shape[1] if kernel.mode == "nearest" else self.fill
        return warp(clips, chain(view_matrix(box, flip, self.size), turn), self.size, mode=kernel.mode, fill=fill)


@dataclass(frozen=True)
class MultiView:
    """Several independent views of one clip, such as two global and six local crops.

    Attributes:
        views: one configuration per view; a configuration may stand several times.
    """

    views: tuple[ClipAugment, ...]

    @classmethod
    def multi_crop(cls, whole: ClipAugment, part: ClipAugment, *, wholes: int = 2, parts: int = 6) -> MultiView:
        """`wholes` global views and `parts` local ones (SwAV, DINO)."""
        return cls((whole,) * wholes + (part,) * parts)

    def draw(self, rng: np.random.Generator, source: Size, *, measured: Size | None = None) -> Draws:
        """The numbers of all views; names begin with "view0_", "view1_" …."""
        draws: Draws = {}
        for number, view in enumerate(self.views):
            draws |= view.draw(rng, source, measured=measured, prefix=f"view{number}_")
        return draws

    def apply(self, clips: Tensor, draws: Mapping[str, Any]) -> list[Tensor]:
        """One tensor [B, 3, T, *size] per view."""
        return [view.apply(clips, draws, prefix=f"view{i}_") for i, view in enumerate(self.views)]
