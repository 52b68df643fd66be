"""Published weights as the start of a transformer that is trained on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from kinema.backbones.converters.convert import Converted, convert
from kinema.backbones.converters.files import read_config, read_weights
from kinema.backbones.converters.layout import some
from kinema.backbones.vit import VisionTransformer
from kinema.errors import RecipeError
from kinema.modules.transformer.patches import Grid, grid_of
from kinema.modules.transformer.positions import resample

_FRONT = re.compile(r"positions\.|cls_(token|position)$")
"""Tables and class tokens, in which networks that are otherwise alike differ."""


class Started(NamedTuple):
    """What a file of weights gave to a network.

    Attributes:
        layout: name of the layout that was recognised.
        matched: names of the network's weights that the file gave.
        missing: those that keep their first values: class token, positions.
        left_over: names, in kinema's form, of the file's weights that the network has no place for.
    """

    layout: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]


def start_from(trunk: VisionTransformer, source: str | Path) -> Started:
    """Load published weights into `trunk`, as far as class tokens and positions are concerned only where it has them.

    Separable tables made for clips of another size are stretched; fixed tables stay those of `trunk`, whatever the file
    holds. Everything else must fit exactly.

    Args:
        trunk: of the same width, depth, heads and patches as the file's encoder.
        source: a file or folder for `read_weights`, such as of MAE-ST, an image MAE or transformers' ViTMAE.

    Raises:
        RecipeError: as `convert`, or weights other than class tokens and positions do not fit.
    """
    heads = read_config(source).get("heads", trunk.heads)
    if heads != trunk.heads:
        raise RecipeError(f"{source}: these weights have {heads} heads of attention, this encoder {trunk.heads}")
    converted = convert(read_weights(source), known={"heads": heads})
    own, given = trunk.state_dict(), _stretched(converted, trunk)
    matched = {name: value for name, value in given.items() if name in own and value.shape == own[name].shape}
    missing, left_over = ([name for name in names if name not in matched] for names in (own, given))
    unfit = sorted({name for name in [*missing, *left_over] if not _FRONT.match(name)})
    if unfit:
        sizes = ", ".join(f"{name}={converted.options.get(name)}" for name in ("patch", "width", "depth", "bias"))
        raise RecipeError(
            f"{source} ({converted.layout}: {sizes}) does not fit this encoder (patch={trunk.patch}, "
            f"width={trunk.feature_dim}, depth={len(trunk.blocks)}): {len(unfit)} weights differ, {some(unfit)}"
        )
    trunk.load_state_dict(matched, strict=False)
    return Started(converted.layout, tuple(matched), tuple(missing), tuple(left_over))


def _stretched(converted: Converted, trunk: VisionTransformer) -> dict[str, Tensor]:
    """The weights, separable tables for the grid of `trunk`."""
    given = dict(converted.weights)
    if "positions.spatial" in given:
        time, *space = grid_of(converted.options["size"], converted.options["patch"])
        tables: dict[str, tuple[Grid, Grid]] = {
            "positions.spatial": ((1, space[0], space[1]), (1, *trunk.grid[1:])),
            "positions.temporal": ((time, 1, 1), (trunk.grid[0], 1, 1)),
        }
        for name, (old, new) in tables.items():
            given[name] = resample(given[name][0], old, new)[None]
    return given
