"""`kinema export`: a run's encoder as a folder that others can load."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from torch import Tensor

from kinema.errors import RecipeError
from kinema.methods.exported import as_transformers
from kinema.modules.encoder import Encoder
from kinema.training.checkpoint import Run, load_run
from kinema.training.files import read_json, write_folder_atomic

Format = Literal["transformers", "safetensors"]
WEIGHTS, CARD, INPUT = "model.safetensors", "README.md", "input.json"


def export_run(run: Run | str | Path, out: Path, *, format: Format = "transformers") -> list[str]:
    """Write a run's encoder to a folder, whole or not at all.

    "transformers": config.json, preprocessor_config.json and weights that `from_pretrained` reads; where the run has a
    decoder, those of VideoMAEForPreTraining. "safetensors": the encoder's weights in kinema's names, its input and the
    recipe that builds it. Both with a model card.

    Args:
        run: a run folder, or what `load_run` returned.
        out: the folder to make.
        format: see above.

    Returns:
        The names of the files.

    Raises:
        RecipeError: transformers has no class for the network, or `out` is taken.
    """
    run = run if isinstance(run, Run) else load_run(run)
    if out.exists() and any(out.iterdir()):
        raise RecipeError(f"{out} is not empty: choose another folder with -o")
    if out.exists():
        out.rmdir()  # an empty one; a whole one takes its place
    write_folder_atomic(out, lambda folder: _fill(folder, run, format))
    return sorted(entry.name for entry in out.iterdir())


def export_to_screen(
    run_folder: Path, out: Path, *, format: Format = "transformers", method: str | None = None
) -> None:
    """Export, and print what lies where."""
    files = export_run(load_run(run_folder, method=method), out, format=format)
    print(f"{out}: {', '.join(files)}")
    if format == "transformers":
        print(f"next: kinema evaluate hf:{out} --data labelled.csv")


def _fill(folder: Path, run: Run, format: Format) -> None:
    encoder = run.encoder()
    if format == "transformers":
        model = as_transformers(run.method, encoder)
        _save(model.weights, folder)
        (folder / "config.json").write_text(json.dumps(model.config, indent=2) + "\n")
        (folder / "preprocessor_config.json").write_text(json.dumps(model.processor, indent=2) + "\n")
        loading = _TRANSFORMERS.format(architecture=model.architecture)
    else:
        _save(encoder.state_dict(), folder)
        (folder / INPUT).write_text(json.dumps(asdict(encoder.input), indent=2) + "\n")
        (folder / "recipe.yaml").write_text(run.recipe.to_yaml())
        loading = _KINEMA.format(name=run.products().visual)
    (folder / CARD).write_text(model_card(run, encoder, loading, library=format))


def _save(weights: dict[str, Tensor], folder: Path) -> None:
    from safetensors.torch import save_file

    alone = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    save_file(alone, folder / WEIGHTS, metadata={"format": "pt"})


def model_card(run: Run, encoder: Encoder, loading: str, *, library: str) -> str:
    """What a person must know of the weights, in Markdown: method, data, input, how to load."""
    shown, recipe = encoder.input, run.recipe
    rate = "each video's own rate" if shown.rate is None else f"{shown.rate:g} frames per second"
    return _CARD.format(
        library="transformers" if library == "transformers" else "kinema",
        method=recipe.method,
        parameters=sum(p.numel() for p in encoder.parameters()),
        step=run.step,
        data=_data(run),
        frames=shown.frames,
        stride=shown.stride,
        rate=rate,
        resize=" x ".join(map(str, shown.resize)),
        size=" x ".join(map(str, shown.size)),
        mean=list(shown.mean),
        std=list(shown.std),
        scale=f"{shown.scale:g}",
        channels=shown.channels.upper(),
        loading=loading,
        recipe=recipe.to_yaml(),
    )


def _data(run: Run) -> str:
    path = run.folder / "data.json"
    if not path.is_file():
        return "not known: the weights were imported"
    data = read_json(path)
    return f"{data.get('rows', '?')} videos, manifest {str(data.get('digest', ''))[:16]}"


_TRANSFORMERS = """```python
from transformers import AutoImageProcessor, {architecture}

processor = AutoImageProcessor.from_pretrained("this/folder")
model = {architecture}.from_pretrained("this/folder")
```

The processor scales whole frames and cuts their middle out. The vector of a clip is the mean of `last_hidden_state` of
`VideoMAEModel`. transformers' decoder ends in a LayerNorm with 1e-5 where kinema has 1e-6; all else is equal."""

_KINEMA = """```python
from kinema.training.recipe import load_recipe
from safetensors.torch import load_file

encoder = load_recipe(None, "this/folder/recipe.yaml").build().products().encoders["{name}"]
encoder.load_state_dict(load_file("this/folder/model.safetensors"))
features = encoder.eval()(encoder.input.normalise(clips))
```

`clips` are uint8 RGB [B, 3, T, H, W]; `features.pooled` is [B, D]."""

_CARD = """---
library_name: {library}
pipeline_tag: feature-extraction
tags: [video, self-supervised, kinema, {method}]
---

# {method}, pre-trained without labels

| | |
| --- | --- |
| method | `{method}`, {step} steps |
| parameters | {parameters:,} in the encoder |
| pre-training data | {data} |
| clips | {frames} frames, {stride} apart, at {rate} |
| frames | scaled to {resize}, the middle {size} seen |
| values | {channels}, in 0 … {scale}, less {mean}, divided by {std} |

{loading}

Whether features are any good for a task is not known before it is measured, beside the same network untrained:
`kinema evaluate`. What the videos show, and of whom, is in the weights too; mind the rights of the people in them.

## Recipe

```yaml
{recipe}```
"""
