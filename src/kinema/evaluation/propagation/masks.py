"""Masks of a first frame carried through any clip, without a truth to judge by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kinema.errors import DataError
from kinema.evaluation.propagation.carrying import Carrier
from kinema.evaluation.propagation.features import FrameFeatures
from kinema.evaluation.propagation.labels import to_grid, to_picture
from kinema.evaluation.propagation.presets import PropagationPreset

Bytes = npt.NDArray[np.uint8]


def carry_masks(
    features: FrameFeatures,
    frames: Iterable[Bytes],
    mask: Bytes,
    preset: PropagationPreset | None = None,
    *,
    device: str | torch.device = "cpu",
) -> Iterator[Bytes]:
    """Ids uint8 [H, W] of every frame, the first included, as soon as they are known.

    Args:
        features: of a frozen encoder on `device`.
        frames: uint8 RGB [H, W, 3] one after the other, of any number: none is kept.
        mask: ids [H, W] of the first frame, 0 for the background; its size is that of all masks.
        preset: size, rule and how labels come to the grid and back.
        device: where features are taken and compared.

    Raises:
        DataError: the mask shows nothing.
    """
    preset = preset or PropagationPreset()
    if not mask.any():
        raise DataError("the mask of the first frame shows no object: nothing can be carried")
    numbers, shown = tuple(np.unique([0, *np.unique(mask)]).tolist()), (mask.shape[0], mask.shape[1])
    carrier: Carrier | None = None
    for frame in frames:
        picture = _scaled(torch.from_numpy(frame).to(device), preset)
        size, (found,) = (picture.shape[2], picture.shape[3]), features(picture)
        if carrier is None:
            first, grid = torch.from_numpy(mask).to(device), (found.shape[1], found.shape[2])
            labels = to_grid(first, numbers, size, grid, how=preset.grid_labels)
            carrier = Carrier(found, labels, preset.rule)
            yield mask
        else:
            labels = carrier.step(found)
            chosen = to_picture(labels, size, shown, stretch=preset.stretch)
            yield np.array(numbers, np.uint8)[chosen.cpu().numpy()]


def _scaled(frame: Tensor, preset: PropagationPreset) -> Tensor:
    """uint8 [H, W, 3] to uint8 [1, 3, h, w] at the size at which frames are encoded."""
    size = preset.frame_size(frame.shape[0], frame.shape[1])
    picture = frame.permute(2, 0, 1)[None]
    if tuple(picture.shape[2:]) == size:
        return picture
    scaled = interpolate(picture.float(), size, mode="bilinear", align_corners=False, antialias=True)
    return scaled.round().clamp(0, 255).byte()
