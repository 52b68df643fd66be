"""What masked autoencoders share: seeing a part of the tokens, predicting the rest, and showing what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kinema.backbones.vit import VisionTransformer
from kinema.errors import RecipeError
from kinema.losses.reconstruction import masked_error
from kinema.modules.transformer.decoder import TokenDecoder
from kinema.modules.transformer.patches import Grid, patchify, take, unpatchify
from kinema.targets.masking import Masking
from kinema.targets.patches import Standard, standardise


class Reconstruction(NamedTuple):
    """What a masked autoencoder makes of clips.

    Attributes:
        latent: [B, K, D] or [B, 1 + K, D], the encoder's tokens after its last LayerNorm.
        predicted: [B, M, P], values of the hidden tokens in the order of `Masking.hidden`.
    """

    latent: Tensor
    predicted: Tensor


class MaskedAutoencoder(nn.Module):
    """An encoder of visible tokens and a decoder that predicts the hidden ones (He et al., CVPR 2022).

    Args:
        trunk: the encoder.
        decoder: made for the trunk's grid; its class token must fit the trunk's.
    """

    def __init__(self, trunk: VisionTransformer, decoder: TokenDecoder) -> None:
        super().__init__()
        self.trunk, self.decoder = trunk, decoder

    def forward(self, patches: Tensor, masking: Masking, grid: Grid | None = None) -> Reconstruction:
        """Normalised pixels [B, N, P] from `patchify`, and which of them are seen."""
        return self.forward_seen(take(patches, masking.kept), masking, grid)

    def forward_seen(self, seen: Tensor, masking: Masking, grid: Grid | None = None) -> Reconstruction:
        """`forward` of the seen patches alone, [B, K, P] in the order of `masking.kept`."""
        latent = self.trunk.encode(self.trunk.embed_seen(seen, masking.kept, grid))
        return Reconstruction(latent, self.decoder(latent, masking.kept, masking.hidden, grid))


class Question(NamedTuple):
    """What a masked autoencoder is asked about clips.

    Attributes:
        patches: [B, N, P], normalised pixels, of which it is shown a part.
        wanted: [B, N, Q], the pixels that the hidden ones of N tokens hold.
        masking: which are hidden.
        cube: (frames, height, width) of the pixels of one token of `wanted`.
    """

    patches: Tensor
    wanted: Tensor
    masking: Masking
    cube: Grid


def ask_clips(clips: Tensor, masking: Masking, patch: Grid, shown: Sequence[int]) -> Question:
    """The hidden patches of normalised clips [B, 3, T, H, W], of their frames `shown` alone (`predicted_frames`)."""
    patches, frames = patchify(clips, patch), clips.shape[2]
    if len(shown) == frames:
        return Question(patches, patches, masking, patch)
    cube = (patch[0] * len(shown) // frames, *patch[1:])
    return Question(patches, patchify(frames_of(clips, shown), cube), masking, cube)


def reconstruction_loss(predicted: Tensor, patches: Tensor, masking: Masking, how: Standard = "patch") -> Tensor:
    """Mean square error of the hidden tokens, a scalar.

    Args:
        predicted: [B, M, P], hidden tokens only.
        patches: [B, N, P], the pixels that are to be predicted.
        masking: which are hidden.
        how: what is regressed, as in `standardise`.
    """
    return masked_error(predicted, standardise(take(patches, masking.hidden), how))


def predicted_frames(frames: int, tubelet: int, count: int | None = None) -> tuple[int, ...]:
    """Which of `frames` frames are predicted: linspace(0, T - 1, count), cut to whole numbers (MAE-ST's pred_t_dim).

    Raises:
        RecipeError: not as many, and whole ones, of every tubelet.
    """
    count = frames if count is None else count
    if not 0 < count <= frames or tubelet * count % frames:
        raise RecipeError(
            f"target_frames={count}: must leave whole frames of every tubelet of {tubelet} out of {frames} frames"
        )
    return tuple(torch.linspace(0, frames - 1, count, device="cpu").long().tolist())


def frames_of(clips: Tensor, chosen: Sequence[int]) -> Tensor:
    """Frames of clips [B, C, T, H, W] by their numbers, without a list of them being sent to the device."""
    return torch.stack([clips[:, :, frame] for frame in chosen], 2)


def filled(patches: Tensor, predicted: Tensor, masking: Masking) -> Tensor:
    """Patches [B, N, P] whose hidden ones are replaced by the predicted values, in the dtype of `patches`."""
    places = masking.hidden.unsqueeze(-1).expand(-1, -1, patches.shape[-1])
    return patches.scatter(1, places, predicted.to(patches.dtype))


def triplet(patches: Tensor, predicted: Tensor, masking: Masking, *, grid: Grid, patch: Grid, blank: float) -> Tensor:
    """The clip, the clip with hidden patches blanked, and the clip completed: [B, 3, C, T, H, W].

    Args:
        patches: [B, N, P], pixels.
        predicted: [B, M, P], in the same units as `patches`.
        masking: which patches are hidden.
        grid: of the tokens.
        patch: (frames, height, width) of one.
        blank: the value shown in place of hidden pixels.
    """
    blanked = filled(patches, torch.full_like(predicted, blank), masking)
    shown = (patches, blanked, filled(patches, predicted, masking))
    return torch.stack([unpatchify(tokens, grid, patch) for tokens in shown], 1)
