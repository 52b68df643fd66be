"""What a trained encoder must be compared with: its own network, untrained, in the two forms that cost nothing.

The pixel references are in `pixels`, training with labels from scratch in `supervised`.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from kinema.data.manifest import Manifest
from kinema.evaluation.extract import frozen
from kinema.evaluation.reading import ClipReader, read_rows
from kinema.evaluation.views import view_preset
from kinema.modules.encoder import Encoder
from kinema.randomness import numpy_generator


def calibrated(
    encoder: Encoder,
    manifest: Manifest,
    rows: npt.NDArray[np.int64],
    *,
    batch: int = 16,
    batches: int = 32,
    seed: int = 0,
    workers: int = 0,
    device: str = "cpu",
) -> Encoder | None:
    """A copy whose BatchNorm statistics come from clips of `rows`, or None where it has no BatchNorm.

    Running averages of an untrained network are 0 and 1 and fit no data; features then differ by scale alone. They are
    replaced by the cumulative average over up to `batches` batches of one centre clip per video. No weight changes and
    no label is looked at. Files that cannot be read are passed over here: taking features reports them.
    """
    twin = copy.deepcopy(encoder).to(device)
    layers = [layer for layer in twin.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers:
        return None
    drawn = numpy_generator("calibrated", seed).permutation(rows)[: batch * batches]
    clips: list[Tensor] = []
    with frozen(twin):
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        reads = read_rows(
            manifest, drawn.tolist(), ClipReader(twin.input, view_preset("single_center")), workers=workers
        )
        for read in reads:
            clips += [] if read.values is None else [read.values]
            if len(clips) == batch:
                _pass(twin, clips, device)
                clips.clear()
        # A rest counts as much as a full batch in the average, so it is used only where it is all there is.
        if clips and not int(layers[0].num_batches_tracked or 0):
            _pass(twin, clips, device)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return twin.eval()


def _pass(encoder: Encoder, clips: list[Tensor], device: str) -> None:
    batch = encoder.input.normalise(torch.cat(clips).to(device))
    encoder(batch.squeeze(2) if encoder.input.modality == "image" else batch)
