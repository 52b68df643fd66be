"""Run folders: what training leaves behind and everything downstream starts from. Loading executes nothing.

run/
  recipe.yaml            the resolved recipe
  data.json              the pre-training manifest: path, digest, rows
  data.parquet           the rows that were trained on
  metrics.jsonl          one JSON object per event
  quarantine.jsonl       files that broke during training
  pictures/, pictures.json
  checkpoints/step-00000100/{model.safetensors, ema.safetensors, training_state.pt, state.json}
  best/checkpoints/…     with choose=best, the one with the least held-out loss
  evaluation/<name>/…, report.html
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema import __version__
from kinema.data.manifest import Manifest
from kinema.errors import RecipeError
from kinema.methods.base import Method
from kinema.methods.registry import is_outside
from kinema.modules.encoder import Encoder, Products
from kinema.training.files import read_json, write_folder_atomic
from kinema.training.recipe import Recipe, load_recipe

BEST = "best"
_REMEDY = "Delete this step's folder to go on from the checkpoint before it."


def versions() -> dict[str, str]:
    """Versions of what decides the numbers of a run."""
    import av
    import cv2
    import numpy as np

    return {
        "kinema": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "av": av.__version__,
        "opencv": cv2.__version__,
    }


def save_checkpoint(
    run: Path,
    step: int,
    *,
    model: Mapping[str, Tensor],
    training: Mapping[str, Any],
    state: Mapping[str, Any],
    ema: Mapping[str, Tensor] | None = None,
    keep: int = 2,
) -> Path:
    """Write one checkpoint folder whole or not at all, then drop all but the newest `keep`.

    Args:
        run: the run folder.
        step: steps done.
        model: the method's state dict.
        training: optimiser states and the like, tensors and plain values only.
        state: JSON values: step, epoch, versions …
        ema: state dict of the averaged weights.
        keep: checkpoints that stay.
    """
    import json

    from safetensors.torch import save_file

    def fill(folder: Path) -> None:
        save_file(_standalone(model), folder / "model.safetensors")
        if ema is not None:
            save_file(_standalone(ema), folder / "ema.safetensors")
        torch.save(dict(training), folder / "training_state.pt")
        (folder / "state.json").write_text(json.dumps({"step": step, **state}, indent=1))

    folder = run / "checkpoints" / f"step-{step:08d}"
    write_folder_atomic(folder, fill)
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return folder


def checkpoints(run: Path) -> list[Path]:
    """The complete checkpoint folders of a run, oldest first."""
    folder = run / "checkpoints"
    return sorted(entry for entry in folder.glob("step-*") if entry.is_dir()) if folder.is_dir() else []


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        RecipeError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecipeError(f"{path} cannot be read as weights: {error}. {_REMEDY}") from error
    return tensors


def load_training_state(checkpoint: Path, device: torch.device) -> dict[str, Any]:
    """The optimiser states of a checkpoint folder: tensors and plain values; anything else is refused, not executed.

    Raises:
        RecipeError: the file is missing, damaged, or holds more than that.
    """
    path = checkpoint / "training_state.pt"
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever a damaged file makes the restricted unpickler stumble over
        reason = str(error).partition("\n")[0]
        raise RecipeError(f"{path} cannot be read as a training state: {reason} {_REMEDY}") from error
    return state


@dataclass(frozen=True)
class Run:
    """A finished or interrupted run, with its method at the weights of one checkpoint.

    Attributes:
        folder: the run folder.
        recipe: as resolved when training began.
        method: with the checkpoint's weights, in eval mode.
        step: steps that the weights have seen.
    """

    folder: Path
    recipe: Recipe
    method: Method
    step: int

    @property
    def manifest(self) -> Manifest:
        """The rows that were trained on."""
        return Manifest.read(self.folder / "data.parquet")

    def products(self) -> Products:
        """What training yielded."""
        return self.method.products()

    def encoder(self, name: str | None = None) -> Encoder:
        """One encoder by name; None: that of videos, or of images or sequences where there is no other.

        Raises:
            RecipeError: the method yields none of that name.
        """
        products = self.products()
        encoders, name = products.encoders, name or products.judged
        if name not in encoders:
            raise RecipeError(f"{self.folder}: no encoder '{name}'; this method yields {', '.join(encoders) or 'none'}")
        return encoders[name].eval()

    def untrained(self) -> Method:
        """The same method at its initial weights: the first baseline of every claim."""
        return self.recipe.build().eval()


def load_run(folder: str | Path, *, step: int | None = None, method: str | None = None, ema: bool = False) -> Run:
    """Load a run folder at its newest checkpoint, with choose=best at its best one, or at `step`.

    Args:
        folder: what `pretrain` wrote.
        step: a checkpoint that is still on disk; None: the one that the recipe chooses.
        method: must repeat package.module:Class when the run's method is not kinema's own, since loading such a run
            imports that module. Nothing else in a run folder is ever executed.
        ema: load the averaged weights instead of the last ones.

    Raises:
        RecipeError: no run, no checkpoint, or weights that do not fit.
    """
    folder = Path(folder)
    recipe = read_run_recipe(folder, method)
    found = checkpoints(folder)
    if step is None and recipe.choose == "best":
        found = checkpoints(folder / BEST) or found
    if step is not None:
        found = [entry for entry in found if entry.name == f"step-{step:08d}"]
    if not found:
        have = ", ".join(entry.name for entry in checkpoints(folder)) or "none"
        raise RecipeError(f"{folder} holds no such checkpoint (there are: {have}); train it with: kinema pretrain")
    checkpoint = found[-1]
    weights = checkpoint / ("ema.safetensors" if ema else "model.safetensors")
    if ema and not weights.is_file():
        raise RecipeError(f"{checkpoint} holds no averaged weights: the run was trained with ema=0")
    built = recipe.build()
    load_weights(built, load_tensors(weights), weights)
    return Run(folder, recipe, built.eval(), int(read_json(checkpoint / "state.json")["step"]))


def read_run_recipe(folder: Path, method: str | None = None) -> Recipe:
    """The recipe of a run folder; refuses to import a method from outside unless `method` names it again."""
    import yaml

    path = folder / "recipe.yaml"
    if not path.is_file():
        raise RecipeError(f"{folder} is no run folder: it holds no recipe.yaml. Make one with: kinema pretrain")
    try:
        tree = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from error
    named = str(tree.get("method")) if isinstance(tree, dict) else ""
    if is_outside(named) and method != named:
        raise RecipeError(
            f"{folder} was trained by '{named}', which is not part of kinema; loading it imports that module. "
            f"If you trust it, say so: --method {named}"
        )
    return load_recipe(None, path)


def load_weights(method: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Load a state dict, exactly.

    Raises:
        RecipeError: naming the first missing, unexpected or misshapen tensors.
    """
    try:
        method.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        # torch lists every tensor: the first few tell what is wrong.
        first = "; ".join(" ".join(line.split()) for line in str(error).splitlines()[1:4])
        raise RecipeError(f"{source} does not fit the recipe beside it: {first}") from error


def _standalone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU copies that share no memory: safetensors refuses aliases."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
