"""Ready settings of label propagation, by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from kinema.errors import RecipeError, suggest
from kinema.evaluation.propagation.carrying import Rule

NAME = "propagation"
_RESIZE = re.compile(r"(?P<height>[1-9]\d*)x(?P<width>[1-9]\d*)|(?P<side>long|short)(?P<pixels>[1-9]\d*)")


@dataclass(frozen=True)
class PropagationPreset:
    """How labels of a first frame are carried on and judged.

    Attributes:
        task: what the labels are: "objects" (J and F), "classes" (mean IoU) or "joints" (PCK).
        rule: how labels are carried.
        resize: "480x880" (height x width); "long880" or "short480" keep the shape and give one side.
        multiple: of which, with "long" and "short", the other side is, rounded down.
        grid_labels: how first labels come to the grid: "bilinear" of the one-hot masks, or "nearest" of the ids (DINO).
        stretch: before the label with the most is taken, the values are brought to 0 … 1: "none"; "place", over the
            labels of each cell (CRW's norm_mask); "label", over all places of each label (DINO).
        std: deviations of the channels in place of the encoder's own.
        classes: number of classes, the background among them.
        best: cells of a joint's map that its place is read from.
        sigma: of a joint's first map, in cells.
        split: rows of the manifest to judge, where it has a column of that name.
        batch: frames encoded at once; changes no number.

    Raises:
        RecipeError: a resize that says nothing.
    """

    task: Literal["objects", "classes", "joints"] = "objects"
    rule: Rule = field(default_factory=Rule)
    resize: str = "480x880"
    multiple: int = 64
    grid_labels: Literal["bilinear", "nearest"] = "bilinear"
    stretch: Literal["none", "place", "label"] = "none"
    std: tuple[float, float, float] | None = None
    classes: int = 20
    best: int = 5
    sigma: float = 0.5
    split: str = "val"
    batch: int = 4

    def __post_init__(self) -> None:
        if _RESIZE.fullmatch(self.resize) is None:
            raise RecipeError(f"propagation.resize={self.resize}: write HEIGHTxWIDTH, longPIXELS or shortPIXELS")
        for name in ("multiple", "classes", "best", "batch"):
            if getattr(self, name) < 1:
                raise RecipeError(f"propagation.{name}={getattr(self, name)}: must be at least 1")

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """The size at which frames of `height` x `width` pixels are encoded."""
        stated = _RESIZE.fullmatch(self.resize)
        assert stated is not None
        if stated["height"]:
            return int(stated["height"]), int(stated["width"])
        pixels = int(stated["pixels"])
        tall = (height > width) == (stated["side"] == "long")  # whether the stated side is the height
        given, other = (height, width) if tall else (width, height)
        scaled = max(self.multiple, other * pixels // given // self.multiple * self.multiple)
        return (pixels, scaled) if tall else (scaled, pixels)


_CRW = Rule(temperature=0.05, top=10, radius=12)
_DINO = Rule(memory=7, pads=False, top=5, ties="all", temperature=0.1, radius=12, window="square", everywhere=False)
PRESETS: dict[str, PropagationPreset] = {
    "davis": PropagationPreset(),
    "davis-dino": PropagationPreset(rule=_DINO, resize="short480", grid_labels="nearest", stretch="label"),
    "davis-crw": PropagationPreset(rule=_CRW, resize="short480", multiple=8),
    "vip": PropagationPreset("classes", Rule(top=10), resize="long880"),
    "vip-crw": PropagationPreset("classes", _CRW, resize="560x560"),
    "jhmdb": PropagationPreset("joints", resize="320x320", split="test"),
    "jhmdb-crw": PropagationPreset("joints", _CRW, resize="320x320", split="test", best=3),
}
"""By name. The sizes of "vip-crw" and "jhmdb-crw" are [unverified], and so is the multiple of "davis-crw"."""


@dataclass(frozen=True)
class Propagation:
    """The protocol whose samples are sequences with labels of their first frame.

    Attributes:
        name: as in result rows: "propagation:davis-dino@p4".
        preset: how.
        tap: stage of the encoder; None is its map.
    """

    name: str
    preset: PropagationPreset
    tap: str | None = None


def propagation(name: str, tap: str = "") -> Propagation:
    """The protocol "propagation" (that is "propagation:davis") or "propagation:PRESET", of a stage where one is named.

    Raises:
        RecipeError: there is no such preset.
    """
    preset = name.partition(":")[2] or "davis"
    if preset not in PRESETS:
        raise RecipeError(f"there is no propagation preset '{preset}'.{suggest(preset, PRESETS)}")
    full = f"{NAME}:{preset}" + (f"@{tap}" if tap else "")
    return Propagation(full, PRESETS[preset], tap or None)
