"""Optical flow between consecutive frames, and its 8-bit coding.

Dense inverse search (DIS): Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, in its three
OpenCV presets, and as "dis-half": the ultrafast one followed down to half instead of quarter resolution, which on small
frames is worth more than the iterations of "dis-fast". Farneback: "Two-Frame Motion Estimation Based on Polynomial
Expansion", SCIA 2003, with OpenCV's usual settings. The 8-bit coding over [-20, 20] pixels is the one of two-stream
networks (Simonyan and Zisserman, 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from kinema.errors import RecipeError, suggest

if TYPE_CHECKING:
    from torch import Tensor  # one second of import, which the probing processes need not pay

Flow = npt.NDArray[np.float32]
_Grey = npt.NDArray[np.uint8]
_Code = TypeVar("_Code", npt.NDArray[Any], "Tensor")

PRESETS = ("dis-ultrafast", "dis-fast", "dis-half", "dis-medium", "farneback")
"""Names for `compute_flow`, the DIS ones from fastest to most careful."""

BOUND = 20.0
"""Largest displacement in pixels per frame that the 8-bit coding holds."""


def compute_flow(frames: npt.NDArray[np.uint8], preset: str = "dis-medium") -> Flow:
    """Optical flow from each frame to the next.

    Args:
        frames: uint8 RGB [T, H, W, 3].
        preset: one of `PRESETS`.

    Returns:
        float32 [T - 1, H, W, 2], (u, v) in pixels per frame: u rightwards, v downwards. What is at (x, y) in frame t is
        at (x + u, y + v) in frame t + 1.

    Raises:
        RecipeError: an unknown preset.
        ValueError: frames of another shape or type, or too small (DIS: a side below 12 pixels).
    """
    estimate = _estimator(preset)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    flow = np.zeros((max(len(frames) - 1, 0), *frames.shape[1:3], 2), np.float32)
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    try:
        for t, (now, following) in enumerate(pairwise(greys)):
            flow[t] = estimate(now, following)
    except cv2.error as error:
        size = f"{frames.shape[1]} x {frames.shape[2]}"
        raise ValueError(f"'{preset}' refuses frames of {size}: {error.err}. Use larger frames.") from error
    return flow


def encode_flow(flow: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """8-bit code of a flow, same shape: (f + 20) * 255 / 40, rounded half up, clipped to 0..255."""
    scaled = np.asarray(flow, np.float64) * (255.0 / (2 * BOUND)) + 127.5
    return np.clip(np.floor(scaled + 0.5), 0, 255).astype(np.uint8)


def decode_flow(code: _Code) -> _Code:
    """float32 flow in pixels per frame of an 8-bit code g, same shape and kind (ndarray or Tensor): g * 40 / 255 - 20.

    Zero motion falls between codes 127 (-0.078) and 128 (+0.078). Floating values are flow already and only cast, so
    that whatever the reader hands over can be decoded.
    """
    if isinstance(code, np.ndarray):
        if code.dtype.kind == "f":
            return code.astype(np.float32)
        return cast("_Code", code.astype(np.float32) * np.float32(2 * BOUND) / np.float32(255) - np.float32(BOUND))
    return code.float() if code.is_floating_point() else code.float() * (2 * BOUND) / 255.0 - BOUND


@cache
def _estimator(preset: str) -> Callable[[_Grey, _Grey], Flow]:
    """The estimator of one preset, made once per process: it keeps its buffers between calls."""
    if preset not in PRESETS:
        raise RecipeError(f"unknown flow preset '{preset}'.{suggest(preset, PRESETS)}")
    cv2.setNumThreads(1)  # workers parallelise over clips; threads within each would fight for the same cores
    if preset == "farneback":
        return _farneback
    effort = "ULTRAFAST" if preset == "dis-half" else preset.removeprefix("dis-").upper()
    dis = cv2.DISOpticalFlow.create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{effort}"))
    finest, patch = 1 if preset == "dis-half" else dis.getFinestScale(), dis.getPatchSize()

    def estimate(now: _Grey, following: _Grey) -> Flow:
        # OpenCV changes these settings for good when it meets a small frame; no flow may depend on earlier ones.
        dis.setFinestScale(finest)
        dis.setPatchSize(patch)
        return cast("Flow", dis.calc(now, following, None))

    return estimate


def _farneback(now: _Grey, following: _Grey) -> Flow:
    flow = cv2.calcOpticalFlowFarneback(
        now, following, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
    )
    return cast("Flow", flow)
