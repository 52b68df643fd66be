"""What is known of one public key layout, and how its keys are renamed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kinema.errors import RecipeError

Weights = Mapping[str, Tensor]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
"""A regular expression and what replaces it, in the path of a module (a key without its last part)."""
Identity = tuple[str, dict[str, Any]]
"""Name and options of a backbone."""


@dataclass(frozen=True)
class Layout:
    """One public key layout.

    Attributes:
        name: as `convert` takes it.
        source: whose code writes it.
        anchors: keys that all files of the layout hold and no other layout's do, after a common prefix.
        rules: renamings of module paths, applied in order.
        dropped: regular expression of module paths that are no part of the network: heads, and second names.
        identify: the renamed tensors to the backbone's name and options.
    """

    name: str
    source: str
    anchors: tuple[str, ...]
    rules: tuple[Rule, ...]
    identify: Callable[[Weights], Identity]
    dropped: str = r"(fc|linear|classifier)(\.|$)"

    def prefix(self, keys: Mapping[str, object]) -> str | None:
        """What stands before this layout's keys ("module.encoder_q." …); None where they are not in `keys`.

        Where several networks share a file, the first that is not a momentum copy is meant.
        """
        first = self.anchors[0]
        starts = [key[: -len(first)] for key in keys if key == first or key.endswith(f".{first}")]
        found = [start for start in starts if all(start + anchor in keys for anchor in self.anchors)]
        copies = re.compile(r"encoder_k|_cyc|ema|momentum|teacher")
        return next(iter(sorted(found, key=lambda start: bool(copies.search(start)))), None)

    def rename(self, key: str) -> str | None:
        """A key without prefix in kinema's form; None for one that is dropped. What matches no rule stays as it is."""
        path, _, leaf = key.rpartition(".")
        if re.match(self.dropped, path):
            return None
        for pattern, replacement in self.rules:
            path = re.sub(pattern, replacement, path)
        return f"{path}.{leaf}" if path else leaf

    def translate(self, tensors: Weights, prefix: str) -> tuple[dict[str, Tensor], list[str]]:
        """All tensors in kinema's form, and the keys that are left out.

        Raises:
            RecipeError: tensors find no place.
        """
        weights: dict[str, Tensor] = {}
        dropped: list[str] = []
        unknown: list[str] = []
        for key, value in tensors.items():
            renamed = self.rename(key.removeprefix(prefix)) if key.startswith(prefix) else None
            if renamed is None:
                dropped.append(key)
            elif not renamed.startswith("stages."):
                unknown.append(key)
            else:
                # Gates are linear layers here, and convolutions of one element in some layouts.
                flat = value.flatten(1) if ".gate." in renamed and value.ndim == 5 else value
                weights[renamed] = flat
        if unknown:
            raise no_place(self.name, unknown)
        return weights, dropped


def no_place(layout: str, keys: Sequence[str]) -> RecipeError:
    """The error for tensors that a layout does not know."""
    return RecipeError(
        f"layout '{layout}' has no place for {len(keys)} tensors: {some(keys)}. Name another with --layout, or remove "
        "them from the file if they are no part of the network"
    )


def some(keys: Sequence[str]) -> str:
    """The first few keys, in words."""
    return ", ".join(keys[:5]) + (" …" if len(keys) > 5 else "")


def blocks(weights: Weights, stage: str) -> int:
    """How many numbered blocks a stage holds."""
    return len({match[1] for key in weights if (match := re.match(rf"stages\.{stage}\.(\d+)\.", key))})


def layers(weights: Weights) -> tuple[int, ...]:
    """Blocks of the stages p2 to p5."""
    return tuple(blocks(weights, f"p{stage}") for stage in range(2, 6))


def next_stage(by: int) -> Callable[[re.Match[str]], str]:
    """Replaces a matched stage number n by "stages.p(n + by)."."""
    return lambda match: f"stages.p{int(match[1]) + by}."
