"""Any known file of weights to a backbone's name, options and state dict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kinema.backbones import build_network
from kinema.backbones.converters.files import find_tensors, read_weights
from kinema.backbones.converters.layout import Layout, Weights, some
from kinema.backbones.converters.layouts import LAYOUTS
from kinema.backbones.converters.tensorflow import from_tensorflow, is_tensorflow
from kinema.backbones.converters.tokens import TokenLayout
from kinema.backbones.vit import Pool
from kinema.errors import RecipeError, suggest


class Converted(NamedTuple):
    """A network's weights in kinema's form.

    Attributes:
        backbone: name of `BACKBONES`.
        options: with which `build_network` makes the network that the weights fit. What leaves no trace in the weights
            (a stem's stride, a left-out pool) has its default.
        weights: the state dict.
        layout: name of the layout that was recognised.
        dropped: keys that were left out: heads, momentum copies, queues.
        decoder: of a masked autoencoder, the weights of its `TokenDecoder`; no part of the network.
        pool: of a transformer, what its vector is, as `ViTEncoder` takes it.
    """

    backbone: str
    options: dict[str, Any]
    weights: dict[str, Tensor]
    layout: str
    dropped: tuple[str, ...]
    decoder: Mapping[str, Tensor] = MappingProxyType({})
    pool: Pool = "mean"


def convert(
    state: Mapping[str, Any], layout: str = "auto", *, known: Mapping[str, Any] = MappingProxyType({})
) -> Converted:
    """Recognise the layout of a state dict and bring it into kinema's form.

    Prefixes ("module.", "base_network.", "encoder_q.encoder." …) are found and stripped.

    Args:
        state: names and tensors (or numpy arrays), or a checkpoint that holds them under "state_dict", "model" ….
        layout: a name of `LAYOUTS`, or "auto".
        known: options of a transformer that leave no trace in its weights: "heads", and with fixed positions "size".

    Raises:
        RecipeError: the layout is unknown, or tensors are missing, left over or of the wrong shape; they are listed.
    """
    tensors = find_tensors(state, "the state dict")
    if is_tensorflow(tensors):
        tensors = from_tensorflow(tensors)
    chosen, prefix = _recognise(tensors, layout)
    weights, dropped = chosen.translate(tensors, prefix)
    decoder: dict[str, Tensor] = {}
    pool: Pool = "mean"
    if isinstance(chosen, TokenLayout):
        weights, decoder, pool = chosen.parted(weights)
    try:
        backbone, options = chosen.identify(weights)
    except KeyError as error:
        raise RecipeError(f"layout '{chosen.name}' needs {error.args[0]}, which the weights lack") from error
    options |= {name: value for name, value in known.items() if isinstance(chosen, TokenLayout)}
    with torch.device("meta"):
        network = build_network(backbone, **options)
    fitted = _fit(network, weights, chosen.name)
    return Converted(backbone, options, fitted, chosen.name, tuple(dropped), decoder, pool)


def load_weights(backbone: nn.Module, source: str | Path | Mapping[str, Any], layout: str = "auto") -> Converted:
    """Load published weights into `backbone`, exactly, and return what was converted.

    Args:
        backbone: built with the options that the weights need (`convert` names them).
        source: a file for `read_weights`, or what `convert` takes.
        layout: a name of `LAYOUTS`, or "auto".

    Raises:
        RecipeError: as `convert`, or the weights belong to another network or other options.
    """
    state = source if isinstance(source, Mapping) else read_weights(source)
    converted = convert(state, layout)
    wanted = f"build_network('{converted.backbone}', {_keywords(converted.options)})"
    weights = _fit(backbone, converted.weights, f"{converted.layout}, made for {wanted}")
    with torch.device("meta"):
        twin = build_network(converted.backbone, **converted.options)
    for ours, theirs in zip(_norms(backbone), _norms(twin), strict=True):
        if ours.eps != theirs.eps:
            raise RecipeError(f"the weights need batch normalisation with eps={theirs.eps:g}: {wanted}")
    backbone.load_state_dict(weights)
    return converted


def _recognise(tensors: Weights, layout: str) -> tuple[Layout, str]:
    if layout != "auto" and layout not in LAYOUTS:
        raise RecipeError(f"no layout of weights is called '{layout}'.{suggest(layout, ['auto', *LAYOUTS])}")
    for candidate in LAYOUTS.values() if layout == "auto" else (LAYOUTS[layout],):
        prefix = candidate.prefix(tensors)
        if prefix is not None:
            return candidate, prefix
    wanted = "any known layout" if layout == "auto" else f"layout '{layout}'"
    known = "; ".join(f"{entry.name}: {entry.source}" for entry in LAYOUTS.values())
    raise RecipeError(
        f"the keys ({some(list(tensors))}) are not of {wanted}. A model of transformers can be measured as "
        f"it is: kinema evaluate hf:FOLDER. Known: {known}"
    )


def _fit(network: nn.Module, weights: Weights, source: str) -> dict[str, Tensor]:
    """The weights with what old files lack (counts of batches); an error names what does not fit."""
    expected = network.state_dict()
    full = {key: torch.zeros_like(value, device="cpu") for key, value in expected.items() if _is_count(key)} | dict(
        weights
    )
    missing = [key for key in expected if key not in full]
    unexpected = [key for key in full if key not in expected]
    misshapen = [
        f"{key} {list(full[key].shape)} instead of {list(expected[key].shape)}"
        for key in expected
        if key in full and full[key].shape != expected[key].shape
    ]
    problems = {"missing": missing, "left over": unexpected, "of the wrong shape": misshapen}
    told = "; ".join(f"{len(keys)} {kind}: {some(keys)}" for kind, keys in problems.items() if keys)
    if told:
        raise RecipeError(f"the weights ({source}) do not fit {type(network).__name__}: {told}")
    return full


def _is_count(key: str) -> bool:
    return key.endswith(".num_batches_tracked")


def _norms(network: nn.Module) -> list[nn.BatchNorm3d]:
    return [part for part in network.modules() if isinstance(part, nn.BatchNorm3d)]


def _keywords(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())
