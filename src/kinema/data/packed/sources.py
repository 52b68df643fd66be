"""The pictures of one video, in the form in which a store keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.data.packed.layout import Layout
from kinema.data.packed.planning import Piece, grid
from kinema.data.packed.rows import read_row
from kinema.video.flow import compute_flow, encode_flow

Pictures = npt.NDArray[Any]

_CHUNK_BYTES = 1 << 26
"""Of decoded frames held at once. Every chunk begins with a jump to a keyframe, so it should not be small."""


def pictures(manifest: Manifest, piece: Piece, layout: Layout) -> Iterator[Pictures]:
    """The pictures `piece` names, [n, channels, height, width] each time, in order.

    Raises:
        VideoError: the video cannot be read.
    """
    chunk = max(1, _CHUNK_BYTES // (3 * layout.height * layout.width))
    frames = grid(manifest.video(piece.row), layout.rate)
    read = _frames if layout.kind == "frames" else _fields
    for first in range(piece.first, piece.stop, chunk):
        yield read(manifest, piece, frames, (first, min(first + chunk, piece.stop)), layout)


def _frames(
    manifest: Manifest, piece: Piece, frames: npt.NDArray[np.int64], span: tuple[int, int], layout: Layout
) -> Pictures:
    wanted = np.unique(frames)[:: layout.step][slice(*span)]
    return read_row(manifest, piece.row, wanted, (layout.height, layout.width)).transpose(0, 3, 1, 2)


def _fields(
    manifest: Manifest, piece: Piece, frames: npt.NDArray[np.int64], span: tuple[int, int], layout: Layout
) -> Pictures:
    """Flow of each frame to the one `step` later; every step-th frame makes one chain of consecutive flows."""
    wanted = frames[span[0] : span[1] + layout.step]
    clip = read_row(manifest, piece.row, wanted, (layout.height, layout.width))
    fields = np.empty((span[1] - span[0], *layout.shape), layout.dtype)
    for start in range(min(layout.step, len(fields))):
        flow = compute_flow(clip[start :: layout.step], layout.preset).transpose(0, 3, 1, 2)
        fields[start :: layout.step] = encode_flow(flow) if layout.bits == 8 else flow
    return fields
