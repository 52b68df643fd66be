"""What a trained encoder must be compared with: its own network, untrained, in the two forms that cost nothing.

The pixel references are in `pixels`, training with labels from scratch in `finetune`.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from kinema.data.manifest import Manifest
from kinema.evaluation.extract import Extraction, encoder_digest, frozen
from kinema.evaluation.reading import ClipReader, read_rows
from kinema.evaluation.rows import pack, unpack
from kinema.evaluation.taking import row_keys
from kinema.evaluation.views import view_preset
from kinema.modules.encoder import Encoder, shown
from kinema.randomness import numpy_generator
from kinema.training.files import write_atomic


def calibrated(
    encoder: Encoder,
    manifest: Manifest,
    rows: npt.NDArray[np.int64],
    reading: Extraction | None = None,
    *,
    batch: int = 16,
    batches: int = 32,
    seed: int = 0,
) -> Encoder | None:
    """A copy whose BatchNorm statistics come from clips of `rows`, or None where it has no BatchNorm.

    Running averages of an untrained network are 0 and 1 and fit no data; features then differ by scale alone. They are
    replaced by the cumulative average over up to `batches` batches of one centre clip per video, drawn by `seed`. No
    weight changes and no label is looked at. Files that cannot be read are passed over here: taking features reports
    them. Of `reading`, workers, device and cache are used.
    """
    reading = reading or Extraction()
    twin = copy.deepcopy(encoder).to(reading.device)
    layers = {
        name: part for name, part in twin.named_modules() if isinstance(part, _BatchNorm) and part.track_running_stats
    }
    if not layers:
        return None
    drawn = numpy_generator("calibrated", seed).permutation(rows)[: batch * batches].tolist()
    place = None
    if reading.cache is not None:
        key = json.dumps([encoder_digest(encoder), row_keys(manifest.select(drawn)), batch])
        place = reading.cache / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.npz"
    if place is not None and place.exists():
        twin.load_state_dict({name: torch.from_numpy(value) for name, value in unpack(place).items()}, strict=False)
        return twin.eval()
    reads = read_rows(manifest, drawn, ClipReader(twin.input, view_preset("single_center")), workers=reading.workers)
    _estimate(twin, layers.values(), _whole_batches((r.values for r in reads if r.values is not None), batch))
    if place is not None:
        own = {f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.named_buffers()}
        write_atomic(place, pack({name: value.cpu().numpy() for name, value in own.items()}))
    return twin.eval()


def _estimate(encoder: Encoder, layers: Iterable[_BatchNorm], batches: Iterable[Tensor]) -> None:
    """Cumulative averages of the batches' statistics in the layers; everything else stays in evaluation mode."""
    device = next(encoder.parameters()).device
    momenta = [(layer, layer.momentum) for layer in layers]
    with frozen(encoder):
        for layer, _ in momenta:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        for clips in batches:
            encoder(shown(encoder.input, clips.to(device)))
    for layer, momentum in momenta:
        layer.momentum = momentum


def _whole_batches(clips: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Batches of `size`; a rest would count as much as a whole batch, so it is used only where it is all there is."""
    first = True
    while together := list(islice(clips, size)):
        if first or len(together) == size:
            yield torch.cat(together)
        first = False
