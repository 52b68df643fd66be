"""`kinema import`: published weights become a run folder."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from kinema.backbones import TRANSFORMERS
from kinema.backbones.converters import Converted, convert, read_config, read_normalisation, read_weights
from kinema.errors import RecipeError
from kinema.methods.imported import Imported, published_input
from kinema.training.checkpoint import save_checkpoint, versions
from kinema.training.files import write_atomic
from kinema.training.recipe import Recipe, load_recipe, override_pairs


def import_weights(
    weights: Path, out: Path, *, layout: str = "auto", overrides: Iterable[str] = ()
) -> tuple[Recipe, Converted, bool]:
    """Write a run folder at step 0 with the network of a weight file.

    Args:
        weights: a file or a folder for `kinema.backbones.converters.read_weights`.
        out: the run folder to make.
        layout: a name of `kinema.backbones.converters.LAYOUTS`, or "auto".
        overrides: "key=value" texts, options of `kinema.methods.imported.Imported`; of transformers also what no
            weight tells, "heads" and "trained", the [frames, height, width] for which fixed positions are made.

    Returns:
        The recipe, what was converted, and whether the input it assumes is confirmed by a source.

    Raises:
        RecipeError: the weights are unknown or do not fit, an option is wrong, or `out` is taken.
    """
    if out.exists() and any(out.iterdir()):
        raise RecipeError(f"{out} is not empty: choose another folder with -o")
    given = dict(override_pairs(overrides))
    told = {"heads": given.pop("heads", None), "size": given.pop("trained", None)}
    hints = read_config(weights) | {name: value for name, value in told.items() if value is not None}
    converted = convert(read_weights(weights), layout, known=hints)
    if converted.backbone not in TRANSFORMERS and any(value is not None for value in told.values()):
        raise RecipeError(f"heads and trained are told of transformers; {weights} holds a {converted.backbone}")
    assumed, known = published_input(converted)
    assumed |= read_normalisation(weights)
    network = {name: list(value) if isinstance(value, tuple) else value for name, value in converted.options.items()}
    recipe = load_recipe("imported", overrides={**assumed, "backbone": converted.backbone, "network": network, **given})
    method = recipe.build()
    if not isinstance(method, Imported):
        raise RecipeError(f"'{recipe.method}' is no method for published weights")
    method.network.load_state_dict(converted.weights)
    write_atomic(out / "recipe.yaml", recipe.to_yaml())
    state = {"epoch": 0, "versions": versions(), "weights": weights.name, "layout": converted.layout}
    save_checkpoint(out, 0, model=method.state_dict(), training={}, state=state)
    return recipe, converted, known


def import_to_screen(weights: Path, out: Path, *, layout: str = "auto", overrides: Iterable[str] = ()) -> None:
    """Import, and print what was recognised, left out and assumed."""
    recipe, converted, known = import_weights(weights, out, layout=layout, overrides=overrides)
    options = recipe.options
    print(f"layout      {converted.layout}")
    print(f"network     {converted.backbone} {options['network']}")
    print(f"matched     {len(converted.weights)} tensors, none missing")
    if converted.decoder:
        print(f"decoder     {len(converted.decoder)} tensors, which evaluation does not need")
    if converted.dropped:
        print(f"left out    {textwrap.shorten(', '.join(converted.dropped), 100, placeholder=' …')}")
    if "pool" in options and converted.backbone in TRANSFORMERS:
        print(f"vector      pool={options['pool']}")
    names = ("frames", "stride", "rate", "resize", "size", "mean", "std", "scale", "channels")
    print("input       " + " ".join(f"{name}={options[name]}" for name in names))
    if not known:
        print("            no source confirms this input: compare it with the weights' origin, change it by key=value")
    print(f"run folder: {out}\nnext: kinema evaluate {out} --data labelled.csv")
