"""How a video looks, in 128 bytes: what a re-encoded, rescaled or mildly recoloured copy of it shares.

Eight frames at fixed relative times are shrunk to 32 x 32 grey pixels, and the signs of their 63 lowest frequencies are
kept (a discrete cosine transform, after Zauner, "Implementation and benchmarking of perceptual image hash functions",
2010, there with a median in place of zero). That tells scenes apart, but not two moments before one camera; so the same
is kept of each frame's difference from the mean of the eight, which holds only what moved.

Frames between keyframes are decoded as well: an encoder puts keyframes where it likes, so those of a copy show other
moments.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kinema.errors import VideoError
from kinema.video.decode import read_frames
from kinema.video.info import VideoInfo

FRAMES = 8
BYTES = FRAMES * 16
"""Length of a fingerprint: per frame 64 bits of its look and 64 of its motion, of which bit 0 says whether it moved."""

_SIDE, _LOW = 32, 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Root mean square, in grey levels, below which the difference from the mean frame may be the encoder's alone.
_MOTION = 0.35
# A file whose keyframes lie so far apart that this many frames had to be decoded gets no fingerprint.
_LONGEST_WAY = 3000


def fingerprint(info: VideoInfo) -> bytes | None:
    """128 bytes that near-identical videos share but for some bits; None where frames cannot be read, or only slowly.

    Compare them with `kinema.data.duplicates`.
    """
    wanted = info.frame_at((np.arange(FRAMES) + 0.5) / FRAMES * info.duration)
    if _way(info, wanted) > _LONGEST_WAY:
        return None
    try:
        grey = read_frames(info, wanted, (_SIDE, _SIDE)).astype(np.float32) @ _LUMA
    except VideoError:
        return None
    look = _low_frequencies(grey)
    moving = look - look.mean(0)
    moved = np.sqrt((moving**2).sum(1)) / _SIDE > _MOTION
    bits = np.stack([look > 0, moving > 0], axis=1)
    bits[:, :, 0] = np.stack([np.zeros(FRAMES, bool), moved], axis=1)
    return np.packbits(bits).tobytes()


def unpack(fingerprints: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Bits of look and motion, bool [N, FRAMES, 64] each, of fingerprints as uint8 [N, BYTES]."""
    bits = np.unpackbits(fingerprints, axis=1).astype(bool).reshape(-1, FRAMES, 2, _LOW * _LOW)
    return bits[:, :, 0], bits[:, :, 1]


def _low_frequencies(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Orthonormal cosine transform [T, 64] of pictures [T, 32, 32], the 8 x 8 lowest frequencies, the mean set to 0."""
    angles = np.pi / _SIDE * np.outer(np.arange(_LOW), np.arange(_SIDE) + 0.5)
    waves = (np.cos(angles) * np.sqrt(2 / _SIDE)).astype(np.float32)
    waves[0] /= np.sqrt(2)
    low: npt.NDArray[np.float32] = (waves @ grey @ waves.T).reshape(len(grey), -1)
    low[:, 0] = 0
    return low


def _way(info: VideoInfo, wanted: npt.NDArray[np.int64]) -> int:
    """Frames to decode for the wanted ones, from the keyframe before each or from the one wanted before it."""
    keys = np.searchsorted(info.pts, info.keyframes)
    starts = keys[np.searchsorted(keys, wanted, side="right") - 1]
    before = np.concatenate([[0], wanted[:-1]])
    return int((wanted - np.maximum(starts, before)).sum())
