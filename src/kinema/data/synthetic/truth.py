"""The truth about a rendered film, pixel by pixel: masks, what is hidden, depth, boxes, flow, joints.

Nothing is estimated: every layer of a film is a plane that an affine map moves from each frame to the next, and the
same numbers paint it. A pixel belongs to an object where the object covers at least half of it. The painter places
pixels in steps of 1/32, as OpenCV's bilinear warp does, which is how exact the flow is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kinema.data.synthetic.film import Film, Patch, Shot, render_film
from kinema.errors import DataError
from kinema.video.flow import encode_flow

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bits = npt.NDArray[np.unsignedinteger]

TRUTH_COLUMNS = ("masks", "amodal", "true_flow", "boxes", "truth")
"""Columns of the manifest that name the files of `write_truth`; with persons also `parts` and `joints`.

The flow is not in the column `flow`, from which methods would take it as their labels unasked.
"""


@dataclass(frozen=True)
class Truth:
    """What is where in each of T frames with N objects.

    Attributes:
        layers: uint8 (uint16 above 255 layers) [T, H, W], the nearest layer at each pixel, 0 for the scenery.
        owners: uint8 [L + 1], the object that each layer belongs to, 0 for the scenery.
        amodal: unsigned integer [T, H, W]; bit k - 1 is set where object k is, seen or hidden.
        motion: float64 [T - 1, L + 1, 2, 3], the affine map that takes each layer from a frame to the next:
            (x', y') = A (x, y, 1); [T - 1, 0] is the scenery's. Not a number across a cut.
        depth: objects from the farthest to the nearest, as they first appear; last those that never do.
        parts: uint8 [L + 1], which part of its object each layer is, 0 for the scenery.
        joints: float32 [T, N, J, 3] (x, y, visible) of persons, None without; visible is 1 or 0.
    """

    layers: Bits
    owners: Bytes
    amodal: Bits
    motion: Doubles
    depth: tuple[int, ...]
    parts: Bytes
    joints: Floats | None = None

    @property
    def masks(self) -> Bytes:
        """uint8 [T, H, W], number of the visible object, 0 for the scenery."""
        return self.owners[self.layers]

    @property
    def objects(self) -> int:
        """N."""
        return len(self.depth)

    def flow(self) -> Floats:
        """Forward flow of what is visible, float32 [T - 1, H, W, 2] (u, v) in pixels; zero across a cut."""
        count, height, width = len(self.layers) - 1, *self.layers.shape[1:]
        grid = np.stack([*np.meshgrid(np.arange(width), np.arange(height)), np.ones((height, width))], -1)
        flow = np.zeros((count, height, width, 2), np.float32)
        change = np.nan_to_num(self.motion - np.eye(2, 3))
        for t in range(count):
            flow[t] = grid @ change[t, 0].T
            moving = self.layers[t] > 0
            maps = change[t, self.layers[t][moving]]
            flow[t][moving] = (maps @ grid[moving][:, :, None])[..., 0]
        return flow

    def amodal_masks(self) -> npt.NDArray[np.bool_]:
        """Each object with its hidden parts, bool [T, N, H, W]."""
        numbers = np.arange(self.objects, dtype=self.amodal.dtype)[:, None, None]
        return (self.amodal[:, None] >> numbers & 1).astype(bool)

    def modal_masks(self) -> npt.NDArray[np.bool_]:
        """The visible part of each object, bool [T, N, H, W]."""
        masks: npt.NDArray[np.bool_] = self.masks[:, None] == np.arange(1, self.objects + 1)[:, None, None]
        return masks

    def boxes(self, *, amodal: bool = False) -> npt.NDArray[np.int16]:
        """int16 [T, N, 4]: left, top, right, bottom of each object, the last two exclusive; zeros where it is not."""
        return tight_boxes(self.amodal_masks() if amodal else self.modal_masks())


def tight_boxes(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.int16]:
    """int16 [..., 4]: left, top, right, bottom (exclusive) of masks [..., H, W]; zeros where a mask is empty."""
    height, width = masks.shape[-2:]
    columns, rows = np.asarray(masks.any(-2)), np.asarray(masks.any(-1))
    edges = [
        columns.argmax(-1),
        rows.argmax(-1),
        width - columns[..., ::-1].argmax(-1),
        height - rows[..., ::-1].argmax(-1),
    ]
    return np.asarray(np.stack(edges, -1) * columns.any(-1, keepdims=True), np.int16)


def render_truth(film: Film) -> tuple[Bytes, Truth]:
    """The frames of a film, and the truth about them."""
    flat = [layer for shot in film.shots for layer in shot.layers]
    layers = np.zeros((film.frames, *film.size), np.min_scalar_type(len(flat)))
    amodal = np.zeros(layers.shape, _bits(film.objects))

    def watch(t: int, number: int, patch: Patch) -> None:
        height, width = patch.pixels.shape[:2]
        region = np.s_[t, patch.top : patch.top + height, patch.left : patch.left + width]
        covered = patch.pixels[..., 3] >= 0.5
        layers[region][covered] = number
        amodal[region][covered] |= amodal.dtype.type(1 << (flat[number - 1].owner - 1))

    frames = render_film(film, watch)
    owners = np.array([0, *(layer.owner for layer in flat)], np.uint8)
    parts = np.array([0, *(layer.part for layer in flat)], np.uint8)
    depth = tuple(dict.fromkeys([*(layer.owner for layer in flat), *range(1, film.objects + 1)]))
    joints = _joints(film, owners[layers])
    return frames, Truth(layers, owners, amodal, _motion(film.shots, len(flat)), depth, parts, joints)


def write_truth(folder: Path, truth: Truth) -> None:
    """Write the truth about one clip as arrays whose first axis is time; see docs/synthetic-worlds.md.

    `masks.npy`, `amodal.npy`, `boxes.npy` (visible), `true_flow.npy` in the 8-bit coding [T - 1, 2, H, W], with
    persons `parts.npy` and `joints.npy`, and everything without loss in `truth.npz`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "masks": truth.masks,
        "amodal": truth.amodal,
        "boxes": truth.boxes(),
        "true_flow": encode_flow(truth.flow()).transpose(0, 3, 1, 2),
    }
    if truth.joints is not None:
        arrays |= {"parts": truth.parts[truth.layers], "joints": truth.joints}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array))
    exact = {name: value for name, value in vars(truth).items() if value is not None}
    aside = folder / ".truth.npz"  # written last and whole: its presence says that the folder is complete
    np.savez_compressed(aside, **exact)
    aside.replace(folder / "truth.npz")


def read_truth(path: str | Path) -> Truth:
    """Read `truth.npz`, the file that the manifest's column `truth` names.

    Raises:
        DataError: it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        return Truth(**{**found, "depth": tuple(int(number) for number in found["depth"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no truth.npz of a synthetic clip ({error}); render it with --truth") from error


def _bits(objects: int) -> type[np.unsignedinteger]:
    """The smallest type with one bit for each object."""
    for kind in (np.uint8, np.uint16, np.uint32, np.uint64):
        if objects <= np.iinfo(kind).bits:
            return kind
    raise DataError(f"{objects} objects in one clip: hidden parts are written for up to 64")


def _motion(shots: tuple[Shot, ...], layers: int) -> Doubles:
    """The affine maps of `Truth.motion`; a layer stands still while another shot is on."""
    total = sum(len(shot.view) for shot in shots)
    motion = np.tile(np.eye(2, 3), (max(total - 1, 0), layers + 1, 1, 1))
    start, number = 0, 0
    for shot in shots:
        span = slice(start, start + len(shot.view) - 1)
        motion[span, 0, :, 2] = -np.diff(shot.view, axis=0)
        for layer in shot.layers:
            number += 1
            motion[span, number] = _steps(layer.placing)
        start += len(shot.view)
        motion[start - 1 : start] = np.nan
    return motion


def _steps(placing: Doubles) -> Doubles:
    """The maps between consecutive placings: to the sprite and back to the next frame."""
    linear, offset = placing[:, :, :2], placing[:, :, 2:]
    turned = linear[1:] @ np.linalg.inv(linear[:-1])
    return np.concatenate([turned, offset[1:] - turned @ offset[:-1]], 2)


def _joints(film: Film, masks: Bytes) -> Floats | None:
    """Places of all joints, and whether the pixel there shows the person; a person not in a shot has zeros."""
    if any(shot.joints is None for shot in film.shots):
        return None
    places = np.concatenate([shot.joints for shot in film.shots if shot.joints is not None])
    nearest = np.rint(places).astype(int)
    inside = (nearest >= 0).all(-1) & (nearest < np.array(film.size[::-1])).all(-1)
    x, y = np.where(inside[..., None], nearest, 0).transpose(3, 0, 1, 2)
    time, person = np.ogrid[: len(places), : places.shape[1]]
    seen = inside & (masks[time[..., None], y, x] == person[..., None] + 1)
    return np.concatenate([places, seen[..., None]], -1).astype(np.float32)
