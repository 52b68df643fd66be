"""An encoder with a new head: what is trained with labels."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from kinema.data.sample import Batch, tensor
from kinema.evaluation.finetune_clips import disturbed, mixing_of
from kinema.evaluation.finetune_presets import FineTune
from kinema.methods.base import Losses, Method, ParamGroup, Phase
from kinema.methods.encoders import ViTEncoder
from kinema.modules.encoder import Encoder, Features
from kinema.modules.transformer import Block, drop_path_rates


class Classifier(Method):
    """A copy of an encoder and a head with random weights.

    BatchNorm of a trained network uses the statistics of the batch and moves its running averages; that of a frozen
    one stays as it is.

    Args:
        encoder: copied.
        classes: number of classes.
        preset: head, dropout, and what is trained how fast.
    """

    def __init__(self, encoder: Encoder, classes: int, preset: FineTune) -> None:
        super().__init__()
        self.preset, self.classes = preset, classes
        self.encoder = adapted(copy.deepcopy(encoder), preset).requires_grad_(not preset.frozen)
        self.encoder.input = self.input = preset.input(encoder.input)
        self.head = _head(encoder, classes, preset)
        self._depths = block_depths(self.encoder)

    def train(self, mode: bool = True) -> Classifier:
        """As of any module; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.preset.frozen:
            self.encoder.eval()
        return self

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised clips to logits [B, classes]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.preset.frozen):
            features: Features = self.encoder(clips)
        logits: Tensor = self.head(features.pooled)
        return logits

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Cross-entropy of `clip` [B, 3, T, H, W], 0 … 255, with `label` [B], erased and mixed as the preset says."""
        clips = disturbed(self.input.normalise(tensor(batch, "clip")), batch, self.preset)
        logits = self(clips.squeeze(2) if self.input.modality == "image" else clips)
        labels, mixing = tensor(batch, "label"), mixing_of(self.preset)
        if mixing is None:
            loss = cross_entropy(logits, labels, label_smoothing=self.preset.smoothing)
        else:
            loss = cross_entropy(logits, mixing.labels(labels, batch, self.classes))
        return {"loss": loss, "parts": {}}

    def param_group(self, name: str, parameter: nn.Parameter) -> ParamGroup:
        """The preset's factors: below the head, of biases, and from block to block of a transformer."""
        preset = self.preset
        rate = preset.bias_lr if name.endswith("bias") else 1.0
        if name.startswith("encoder."):
            steps_down = self._depths[name.removeprefix("encoder.")] if self._depths else 0
            rate *= preset.trunk_lr * preset.layer_decay**steps_down
        # [1, N, D] is a class token or a position table, which count as vectors.
        is_vector = parameter.ndim == 1 or (parameter.ndim == 3 and len(parameter) == 1)
        decays = preset.decay_vectors or not is_vector
        return ParamGroup(rate, float(decays))


class Logits(Encoder):
    """A classifier as an encoder whose pooled feature is the logits, so that it is shown videos as encoders are.

    Args:
        classifier: the classifier.
        as_shares: yield the softmax of the logits instead.
    """

    def __init__(self, classifier: Classifier, *, as_shares: bool = False) -> None:
        super().__init__()
        self.classifier, self.as_shares = classifier, as_shares
        self.input, self.feature_dim = classifier.input, classifier.classes

    def forward(self, x: Tensor, valid: Tensor | None = None, taps: object = ()) -> Features:
        """Normalised clips to Features(pooled=[B, classes])."""
        logits = self.classifier(x)
        return Features(logits.softmax(1) if self.as_shares else logits)


def adapted(encoder: Encoder, preset: FineTune) -> Encoder:
    """The same encoder, its transformers pooled and thinned out in training as the preset says."""
    for part in encoder.modules():
        if isinstance(part, ViTEncoder) and preset.pool and (preset.pool != "class" or part.trunk.class_token):
            if preset.pool == "late" and part.pool != "late":
                # It normed tokens, and what it learned of them does not hold for their mean.
                part.trunk.norm.reset_parameters()
            part.pool = preset.pool
    blocks = [part for part in encoder.modules() if isinstance(part, Block)]
    for block, rate in zip(blocks, drop_path_rates(preset.drop_path, len(blocks)), strict=True):
        block.drop_path.probability = rate
    return encoder


class _L2Batch(nn.Module):
    """L2 normalisation and BatchNorm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, features: Tensor) -> Tensor:
        scaled: Tensor = self.norm(normalize(features, dim=1))
        return scaled


def _head(encoder: Encoder, classes: int, preset: FineTune) -> nn.Module:
    dim = encoder.feature_dim
    linear = nn.Linear(dim, classes)
    before: dict[str, nn.Module] = {
        "linear": nn.Identity(),
        "l2+batch": _L2Batch(dim),
    }
    if preset.head_std is not None:
        nn.init.trunc_normal_(linear.weight, std=preset.head_std)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(before[preset.head], nn.Dropout(preset.dropout), linear)


def block_depths(encoder: nn.Module) -> dict[str, int]:
    """For every parameter of a transformer, how many blocks' worth it lies below the head.

    Blocks are the entries of the longest `nn.ModuleList`. With n of them: 0 for what comes after, n - i for block i,
    n + 1 for what comes before (patch embedding, position table), in the order of the parameters. Empty for a network
    without such a list, as ConvNets are.
    """
    lists = {name: part for name, part in encoder.named_modules() if isinstance(part, nn.ModuleList) and len(part) > 1}
    if not lists:
        return {}
    prefix, blocks = max(lists.items(), key=lambda found: len(found[1]))
    depths, inside = {}, False
    for name, _ in encoder.named_parameters():
        if name.startswith(f"{prefix}."):
            inside = True
            depths[name] = len(blocks) - int(name.removeprefix(f"{prefix}.").partition(".")[0])
        else:
            depths[name] = 0 if inside else len(blocks) + 1
    return depths
