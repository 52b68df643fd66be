"""Labels carried from frame to frame: each place takes those of the places in earlier frames that look most like it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from kinema.errors import RecipeError

Grid = tuple[int, int]


@dataclass(frozen=True)
class Rule:
    """Where a place looks for its label, and how what it finds is weighed.

    The context of frame t is frame 0 and the `memory` frames before t. The defaults are those of CRW, SiamMAE and
    CropMAE (code), with the values of the latter two.

    Attributes:
        memory: frames before the target that are looked at besides frame 0.
        pads: the first targets see copies of frame 0 in place of the frames that are not there yet, each as a context
            entry of its own; without, they have fewer entries, and frame 0 is never among the last ones (DINO).
        top: how many places count, over all entries together.
        ties: "first": exactly `top`, of equal places that of the earlier entry and there the first in reading order;
            "all": every place as similar as the last of them (DINO).
        temperature: of the softmax over the places that count.
        radius: cells from the target's own place within which an entry is looked at.
        window: "disc": Euclidean distance below the radius; "square": neither coordinate differs by more (DINO).
        everywhere: frame 0 is looked at everywhere, whatever the radius; DINO's is not.
        megabytes: of similarities held at once; changes no number.

    Raises:
        RecipeError: a value that leaves nothing to look at.
    """

    memory: int = 20
    pads: bool = True
    top: int = 7
    ties: Literal["first", "all"] = "first"
    temperature: float = 0.7
    radius: float = 20.0
    window: Literal["disc", "square"] = "disc"
    everywhere: bool = True
    megabytes: float = 128.0

    def __post_init__(self) -> None:
        if self.memory < 0 or self.top < 1:
            raise RecipeError(f"memory={self.memory}, top={self.top}: memory is at least 0, top at least 1")
        for name in ("temperature", "radius", "megabytes"):
            if not getattr(self, name) > 0:
                raise RecipeError(f"{name}={getattr(self, name):g}: must be above 0")


class Entry(NamedTuple):
    """One frame of the context: features [cells, D] of length 1, labels [cells, L]."""

    features: Tensor
    labels: Tensor


class Carrier:
    """Carries the labels of one sequence on, a frame at a time; holds `memory` + 1 feature maps at most.

    Args:
        features: [D, h, w] of frame 0.
        labels: [L, h, w] of frame 0, soft or not.
        rule: how.
    """

    def __init__(self, features: Tensor, labels: Tensor, rule: Rule | None = None) -> None:
        self.rule = rule or Rule()
        self.grid: Grid = (features.shape[1], features.shape[2])
        self.first = Entry(unit_places(features), labels.float().flatten(1).T.contiguous())
        # Copies of frame 0 are entries that share its memory.
        copies = [self.first] * self.rule.memory if self.rule.pads else []
        self.recent: deque[Entry] = deque(copies, self.rule.memory)

    def step(self, features: Tensor) -> Tensor:
        """The next frame's features [D, h, w] to its labels [L, h, w], which later frames may take over."""
        places = unit_places(features)
        labels = carried(places, [self.first, *self.recent], self.grid, self.rule)
        self.recent.append(Entry(places, labels))
        return labels.T.reshape(-1, *self.grid)


def unit_places(features: Tensor) -> Tensor:
    """A map [D, h, w] as places [h w, D] of length 1."""
    return normalize(features.float().flatten(1).T, dim=1).contiguous()


def carried(places: Tensor, context: Sequence[Entry], grid: Grid, rule: Rule) -> Tensor:
    """Labels [cells, L] of the places [cells, D] of one frame; `context` begins with frame 0."""
    labels = torch.cat([entry.labels for entry in context])
    held = len(labels) if rule.ties == "all" else _HELD * len(places)
    rows = max(1, int(rule.megabytes * 2**20 / (_BYTES * held)))
    target = torch.arange(len(places), device=places.device)
    weigh = _first_places if rule.ties == "first" else _all_places
    looks = (_Looks(places, context, chosen, grid, rule) for chosen in torch.split(target, rows))
    return torch.cat([weigh(look, labels) for look in looks])


_BYTES = 12  # per similarity: itself, and what is made of it for a moment
_HELD = 3  # entries whose similarities are held at once where each is looked at by itself
_LARGEST = 2**32 - 1


class _Looks:
    """What some targets see in the entries of the context; copies of an entry are compared once."""

    def __init__(self, places: Tensor, context: Sequence[Entry], chosen: Tensor, grid: Grid, rule: Rule) -> None:
        self.places, self.rule, self.cells = places[chosen], rule, len(places)
        self.far = ~_near(chosen, grid, rule)
        self.seen = [(entry.features, bool(number) or not rule.everywhere) for number, entry in enumerate(context)]

    def each(self, reduce: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """`reduce` of the cosines [targets, cells], minus infinity where nobody looks, of every entry in order."""
        known: dict[tuple[int, bool], Tensor] = {}
        for features, is_bound in self.seen:
            if (id(features), is_bound) not in known:
                similarity = self.places @ features.T
                similarity = similarity.masked_fill_(self.far, -torch.inf) if is_bound else similarity
                known[id(features), is_bound] = reduce(similarity)
        return [known[id(features), is_bound] for features, is_bound in self.seen]


def _near(chosen: Tensor, grid: Grid, rule: Rule) -> Tensor:
    """Whether [targets, cells] each cell lies within the radius of the chosen ones."""
    cells = torch.arange(grid[0] * grid[1], device=chosen.device)
    down = (cells // grid[1] - (chosen // grid[1])[:, None]).abs()
    right = (cells % grid[1] - (chosen % grid[1])[:, None]).abs()
    if rule.window == "square":
        return torch.maximum(down, right) <= rule.radius
    return down.square() + right.square() < rule.radius**2


def _first_places(looks: _Looks, labels: Tensor) -> Tensor:
    """Softmax over exactly `top` places; of equal ones the first, on every device."""
    top, cells = looks.rule.top, looks.cells
    keys = looks.each(lambda similarity: _best_keys(similarity, min(top, cells)))
    # An entry's place in the context goes before the cell.
    joined = torch.cat([key - number * cells for number, key in enumerate(keys)], 1)
    best = joined.topk(min(top, joined.shape[1]), 1).values
    weights = (_value_of(best) / looks.rule.temperature).softmax(1)
    return torch.einsum("tk,tkl->tl", weights, labels[_LARGEST - (best & _LARGEST)])


def _all_places(looks: _Looks, labels: Tensor) -> Tensor:
    """Softmax over all places as similar as the `top`-th."""
    similarity = torch.cat(looks.each(lambda found: found), 1)
    least = similarity.topk(min(looks.rule.top, similarity.shape[1]), 1).values[:, -1:]
    kept = similarity.masked_fill_(similarity < least, -torch.inf)
    return (kept / looks.rule.temperature).softmax(1) @ labels


def _best_keys(similarity: Tensor, top: int) -> Tensor:
    """Keys [targets, top] of the most similar cells, of equal ones the first; larger is better.

    A key is the float as an integer of the same order, then `_LARGEST` minus the cell: no two are equal.
    """
    values, cell = similarity.topk(min(top + 1, similarity.shape[1]), 1)
    if values.shape[1] > top:
        is_open = (values[:, top - 1] == values[:, top]).any()
        values, cell = values[:, :top], cell[:, :top]
        # Asking a GPU would halt it.
        if is_open.device.type != "cpu" or is_open:
            cell = _first_of_equal(similarity, values, cell)
    bits = (values + 0.0).view(torch.int32)  # adding zero makes -0.0 equal to 0.0
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() * 2**32 + (_LARGEST - cell)


def _first_of_equal(similarity: Tensor, values: Tensor, cell: Tensor) -> Tensor:
    """The cells of the `values` in order, those as similar as the last one replaced by the first such cells."""
    least = values[:, -1:]
    position = torch.arange(similarity.shape[1], device=similarity.device, dtype=torch.int32)
    equal = torch.where(similarity == least, position, similarity.shape[1])
    first = equal.topk(values.shape[1], 1, largest=False).values.long()
    above = (values > least).sum(1, keepdim=True)
    rank = torch.arange(values.shape[1], device=values.device) - above
    return torch.where(rank < 0, cell, first.gather(1, rank.clamp(min=0)))


def _value_of(keys: Tensor) -> Tensor:
    """The floats that keys were made of."""
    bits = (keys >> 32).int()
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
