"""What happens to the colours of a view: jitter, greyscale, gamma, blur and solarisation, drawn once per clip.

Consecutive affine operations (jitter unless exact, greyscale, the scaling of bytes) are gathered into one matrix per
clip and done in one pass, when an operation that is not affine needs the values, or at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.errors import RecipeError, suggest
from kinema.views.colour import (
    CONTRAST,
    GREY_WEIGHTS,
    Affine,
    ColourJitter,
    apply_affine,
    channel_means,
    grey_matrix,
    jitter_matrix,
)
from kinema.views.colour_exact import jitter_exactly
from kinema.views.filters import Blur, Gamma, gamma, gaussian_blur, solarise
from kinema.views.masking import skips

Draws = dict[str, npt.NDArray[Any]]

OPERATIONS = ("colour", "grey", "gamma", "blur", "solarise")
"""Names for `Photometric.order`."""

_DRAWN = ("factors", "factor_order", "grey", "power", "sigma", "solarised")


@dataclass(frozen=True)
class Photometric:
    """Photometric operations in their order.

    Attributes:
        colour: brightness, contrast, saturation, hue.
        grey: probability of greyscale.
        gamma: every value to a drawn power.
        blur: Gaussian blur.
        solarise: probability of inverting what is brighter than `threshold`.
        threshold: for solarisation; 0.5 in CVRL.
        grey_weights: of (R, G, B) in greyscale.
        order: of the operations (RSPNet: grey before colour).
    """

    colour: ColourJitter | None = None
    grey: float = 0.0
    gamma: Gamma | None = None
    blur: Blur | None = None
    solarise: float = 0.0
    threshold: float = 0.5
    grey_weights: tuple[float, float, float] = GREY_WEIGHTS
    order: tuple[str, ...] = OPERATIONS

    def __post_init__(self) -> None:
        for name in self.order:
            if name not in OPERATIONS:
                raise RecipeError(f"order: there is no operation '{name}'.{suggest(name, OPERATIONS)}")
        missing = [name for name in OPERATIONS if getattr(self, name) and name not in self.order]
        if missing:
            raise RecipeError(f"order={list(self.order)} leaves out {missing}, which are set")

    def draw(self, rng: np.random.Generator, *, prefix: str = "") -> Draws:
        """The numbers of one clip, by name, for `Sample.draws`; `prefix` is put before every name."""
        draws: Draws = {}
        if self.colour:
            draws["factors"], draws["factor_order"] = self.colour.draw(rng)
        if self.grey:
            draws["grey"] = np.array(rng.random() < self.grey)
        if self.gamma:
            draws["power"] = np.array(self.gamma.draw(rng), np.float32)
        if self.blur:
            draws["sigma"] = np.array(self.blur.draw(rng), np.float32)
        if self.solarise:
            draws["solarised"] = np.array(rng.random() < self.solarise)
        return {prefix + name: value for name, value in draws.items()}

    def apply(self, clips: Tensor, draws: Mapping[str, Any], *, prefix: str = "") -> Tensor:
        """Change colours.

        Args:
            clips: [B, 3, T, H, W], uint8 or floating in [0, 1].
            draws: what `draw` gave, stacked over the clips; other entries are not looked at.
            prefix: as in `draw`.

        Returns:
            The same shape, floating in [0, 1]. Never `clips` changed in place.
        """
        names = (name for name in _DRAWN if prefix + name in draws)
        drawn = {name: draws[prefix + name].to(clips.device, non_blocking=True) for name in names}
        if not skips(clips):
            return self._chain(_Pixels(clips), drawn, self._operations)
        # Clip by clip, what one needs stays in the processor's cache, and what none needs is left out. The matrices of
        # all clips are made together, since so many small operations take longer than their pixels do.
        first = tuple(takewhile(self._is_affine, self._operations))
        starts = self._matrices(clips, drawn, first)
        out = torch.empty(clips.shape, dtype=torch.float32 if clips.dtype == torch.uint8 else clips.dtype)
        for i in range(len(clips)):
            own = {name: numbers[i : i + 1] for name, numbers in drawn.items()}
            out[i] = self._chain(_Pixels(clips[i : i + 1], starts[i]), own, self._operations[len(first) :])[0]
        return out

    @property
    def _operations(self) -> tuple[str, ...]:
        return tuple(name for name in self.order if getattr(self, name))

    def _is_affine(self, name: str) -> bool:
        return name == "grey" or (name == "colour" and self.colour is not None and not self.colour.exact)

    def _matrices(self, clips: Tensor, drawn: Mapping[str, Tensor], names: tuple[str, ...]) -> list[Affine | None]:
        """What the operations `names`, all affine, do to each clip; None where they change nothing."""
        whole = _Unread(clips)
        for name in names:
            getattr(self, f"_{name}")(whole, drawn)
        if whole.affine is None:
            return [None] * len(clips)
        changed = torch.zeros(len(clips), dtype=torch.bool)
        if "colour" in names:
            changed |= self._jittered(drawn["factors"])
        if "grey" in names:
            changed |= drawn["grey"]
        matrix, offset = whole.affine
        differing = enumerate(changed.tolist())
        return [Affine(matrix[i : i + 1], offset[i : i + 1]) if differs else None for i, differs in differing]

    def _jittered(self, factors: Tensor) -> Tensor:
        """Bool [B]: clips whose colours are changed at all."""
        assert self.colour is not None
        return (factors != factors.new_tensor(self.colour.identity)).any(1)

    def _chain(self, pixels: _Pixels, drawn: Mapping[str, Tensor], names: tuple[str, ...]) -> Tensor:
        for name in names:
            getattr(self, f"_{name}")(pixels, drawn)
        return pixels.values()

    def _colour(self, pixels: _Pixels, drawn: Mapping[str, Tensor]) -> None:
        jitter, factors, order = self.colour, drawn["factors"], drawn["factor_order"]
        assert jitter is not None
        if jitter.exact:
            pixels.replace(jitter_exactly(jitter, pixels.values(), factors, order))
            return
        changed = self._jittered(factors)
        if skips(factors) and not bool(changed.any()):
            return
        before, means = pixels.pending(), pixels.means(jitter, factors)
        after = jitter_matrix(jitter, factors, order, means=means, start=before)
        # A matrix of factors that change nothing is not quite one: a clip must not depend on the others of its batch.
        kept = changed[:, None, None]
        pixels.affine = Affine(*(torch.where(kept, new, old) for new, old in zip(after, before, strict=True)))

    def _grey(self, pixels: _Pixels, drawn: Mapping[str, Tensor]) -> None:
        turned = drawn["grey"]
        if not skips(turned) or bool(turned.any()):
            pixels.affine = pixels.pending().then(grey_matrix(turned, self.grey_weights))

    def _gamma(self, pixels: _Pixels, drawn: Mapping[str, Tensor]) -> None:
        pixels.replace(gamma(pixels.values(), drawn["power"]))

    def _blur(self, pixels: _Pixels, drawn: Mapping[str, Tensor]) -> None:
        assert self.blur is not None
        taps, padding = self.blur.taps, self.blur.padding
        pixels.replace(gaussian_blur(pixels.values(), drawn["sigma"], taps=taps, padding=padding))

    def _solarise(self, pixels: _Pixels, drawn: Mapping[str, Tensor]) -> None:
        pixels.replace(solarise(pixels.values(), drawn["solarised"], self.threshold))


class _Pixels:
    """Values, and an affine map that has not been applied to them yet."""

    def __init__(self, clips: Tensor, affine: Affine | None = None) -> None:
        self.bytes = clips.dtype == torch.uint8
        self.raw = clips.float() if self.bytes else clips
        self.affine = affine

    def pending(self) -> Affine:
        """What is to be applied: at first the scaling of bytes."""
        if self.affine is not None:
            return self.affine
        batch, device = len(self.raw), self.raw.device
        dtype = self.raw.dtype if self.raw.is_floating_point() else torch.float32
        matrix = torch.eye(3, device=device, dtype=dtype) / (255 if self.bytes else 1)
        return Affine(matrix.expand(batch, 3, 3), torch.zeros(batch, 3, 1, device=device, dtype=dtype))

    def means(self, jitter: ColourJitter, factors: Tensor) -> Tensor:
        """Channel means of the raw values; zeros where no clip's contrast changes."""
        if skips(factors) and bool((factors[:, CONTRAST] == 1).all()):
            frames = self.raw.shape[2] if jitter.pivot.startswith("frame") else 1
            return self.raw.new_zeros(len(factors), 3, frames)
        return channel_means(self.raw, jitter.pivot)

    def values(self) -> Tensor:
        """The values with everything applied, in [0, 1]."""
        if self.affine is not None:
            self.replace(apply_affine(self.raw, self.affine))
        elif self.bytes:
            self.replace(self.raw.mul_(1 / 255))
        return self.raw

    def replace(self, values: Tensor) -> None:
        """Go on with `values`, in [0, 1]."""
        self.raw, self.bytes, self.affine = values, False, None


class _Unread(_Pixels):
    """Many clips of which only the means are looked at, one after the other."""

    def __init__(self, clips: Tensor) -> None:
        self.bytes, self.raw, self.affine = clips.dtype == torch.uint8, clips, None

    def means(self, jitter: ColourJitter, factors: Tensor) -> Tensor:
        """Channel means of the raw values; zeros for clips whose contrast does not change."""
        alone = [slice(i, i + 1) for i in range(len(self.raw))]
        return torch.cat([_Pixels(self.raw[one]).means(jitter, factors[one]) for one in alone])
