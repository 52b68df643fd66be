"""What CropMAE and SiamMAE share: a whole reference picture, with whose help the masked one is completed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.backbones.vit import VisionTransformer, vit_size
from kinema.data.index import Index
from kinema.data.sample import Array, Batch, Clock, Frames, Sample, tensor
from kinema.errors import RecipeError
from kinema.methods.base import Losses, Method, ParamGroup, Phase, Picture
from kinema.methods.encoders import ViTEncoder
from kinema.methods.masked import reconstruction_loss, triplet
from kinema.methods.pretext import drawn_per_clip, side_by_side
from kinema.modules.encoder import EncoderInput, Products
from kinema.modules.transformer import CrossDecoder, patchify, take
from kinema.modules.transformer.cross import NormOrder
from kinema.targets.masking import Masking, random_masking, visible_count
from kinema.targets.patches import unstandardise
from kinema.views.colour import normalise, to_uint8
from kinema.views.geometry import Size
from kinema.views.pairs import Pair
from kinema.views.photometric import Draws

_SHOWN, _GREY = 4, 127  # pairs of which pictures are drawn, and what stands for hidden pixels


Target = Literal["patch", "none"]


class PairRule(Protocol):
    """Draws and makes pairs of views, such as `CropPair`."""

    def draw(self, rng: np.random.Generator, source: Size, *, measured: Size) -> Draws:
        """The numbers of one pair."""

    def apply(self, frames: Tensor, draws: Mapping[str, Any]) -> Pair:
        """uint8 frames [B, 3, T, H, W] as pairs of views."""


class Architecture(NamedTuple):
    """Sizes of the network, options of the methods by the same names."""

    model: str
    width: int | None
    depth: int | None
    heads: int | None
    patch: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    decoder_hidden: int
    dropout: float
    norm: NormOrder

    def build(self, size: int) -> PairNetwork:
        """The network for pictures of `size` pixels a side."""
        sizes = vit_size(self.model, width=self.width, depth=self.depth, heads=self.heads)._asdict()
        patch = (1, self.patch, self.patch)
        trunk = VisionTransformer((1, size, size), patch, positions="space", class_token=True, bias="all", **sizes)
        decoder = CrossDecoder(
            trunk.grid,
            trunk.feature_dim,
            width=self.decoder_width,
            depth=self.decoder_depth,
            heads=self.decoder_heads,
            outputs=3 * self.patch**2,
            hidden=self.decoder_hidden,
            dropout=self.dropout,
            norm=self.norm,
        )
        return PairNetwork(trunk, decoder)


class PairNetwork(nn.Module):
    """One encoder for both pictures, and a decoder that looks from the masked one at the reference."""

    def __init__(self, trunk: VisionTransformer, decoder: CrossDecoder) -> None:
        super().__init__()
        self.trunk, self.decoder = trunk, decoder

    def forward(self, reference: Tensor, target: Tensor, masking: Masking) -> Tensor:
        """Pixels [B, N, P] of both pictures from `patchify`, and what is seen of the second one, to [B, M, P]."""
        whole = self.trunk.forward_patches(reference)
        seen = self.trunk.forward_patches(target, masking.kept)
        predicted: Tensor = self.decoder(seen, whole, masking.kept, masking.hidden)
        return predicted


class PairedMAE(Method):
    """Base: the target is masked and completed with the help of the reference; nothing is asked of the latter.

    Args:
        architecture: sizes of the network.
        pair: how views are made.
        size: side of a view.
        resize: (height, width) of whole frames as read.
        mask: share of the target's patches that is hidden.
        target: what is regressed: each patch standardised ("patch"), or pixels as they are fed ("none").
        repeats: pairs taken of each sample.
        rate: sampled rate in frames per second; None: each video's own.

    Raises:
        RecipeError: a mask that leaves nothing visible or nothing hidden.
    """

    def __init__(
        self,
        architecture: Architecture,
        pair: PairRule,
        *,
        size: int,
        resize: Size,
        mask: float,
        target: Target,
        repeats: int = 1,
        rate: float | None = None,
    ) -> None:
        super().__init__()
        if repeats < 1:
            raise RecipeError(f"repeats={repeats}: take at least one pair of each video")
        self.network = architecture.build(size)
        # Features are taken of the largest square of a frame.
        short = min(resize)
        shown = (round(resize[0] * size / short), round(resize[1] * size / short))
        self.input = EncoderInput("image", 1, 1, rate, shown, (size, size))
        self.pair, self.resize, self.repeats = pair, resize, repeats
        self.mask, self.standard = mask, target
        self.tokens = int(np.prod(self.network.trunk.grid))
        random_masking(torch.zeros(1, self.tokens), mask)  # refuses its own options

    def choose(self, rng: np.random.Generator, total: int) -> npt.NDArray[np.int64]:
        """Positions of one pair's frames among `total`."""
        raise NotImplementedError

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """The frames, boxes, mirrors and the noise of the mask of `repeats` pairs."""
        available, video = index.frames(i, rate=self.input.rate), index.video(i)
        measured = (video.height, video.width)
        chosen: list[npt.NDArray[np.int64]] = []
        drawn: list[dict[str, Array]] = []
        for _ in range(self.repeats):
            chosen.append(available[self.choose(rng, len(available))])
            views = self.pair.draw(rng, self.resize, measured=measured)
            drawn.append({**views, "noise": rng.random(self.tokens, np.float32)})
        read = Frames(int(index.rows[i]), np.concatenate(chosen), self.resize)
        return Sample({"frames": read}, drawn_per_clip(drawn))

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Both views of all pairs, "reference" and "target", normalised [B R, 3, 1, S, S], and "noise" [B R, N]."""
        reference, target = (normalise(view, self.input.mean, self.input.std) for view in self.views(batch))
        return {"reference": reference, "target": target, "noise": tensor(batch, "noise").flatten(0, 1)}

    def views(self, batch: Batch) -> Pair:
        """Both views of all pairs of a batch as read, uint8 [B R, 3, 1, S, S]."""
        # [B, 3, R F, H, W] to [B R, 3, F, H, W]: every pair its own row.
        frames: Tensor = tensor(batch, "frames").unflatten(2, (self.repeats, -1))  # type: ignore[no-untyped-call]
        names: list[str] = [name for name in ("whole", "second", "flips") if name in batch]
        draws = {name: tensor(batch, name).flatten(0, 1) for name in names}
        return self.pair.apply(frames.transpose(1, 2).flatten(0, 1), draws)

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Mean square error of the target's hidden patches."""
        reference, target = (self.patches(tensor(batch, name)) for name in ("reference", "target"))
        masking = random_masking(tensor(batch, "noise"), self.mask)
        predicted = self.network(reference, target, masking)
        return {"loss": reconstruction_loss(predicted, target, masking, self.standard), "parts": {}}

    def patches(self, views: Tensor) -> Tensor:
        """Views [B, 3, 1, S, S] as patches [B, N, P]."""
        return patchify(views, self.network.trunk.patch)

    def param_group(self, name: str, parameter: nn.Parameter) -> ParamGroup:
        """No weight decay of biases and other vectors; class and mask tokens decay."""
        return ParamGroup(weight_decay=float(parameter.ndim > 1))

    def pictures(self, batch: Batch) -> list[Picture]:
        """A few pairs: the reference, the target as it is seen, and whole."""
        panels = self._panels(batch, None)
        kept = visible_count(self.tokens, self.mask)
        caption = (
            f"Left: the reference, seen whole. Middle: the target, of whose {self.tokens} patches {kept} are seen. "
            "Right: what is to be reconstructed with the help of the reference."
        )
        return [Picture("Reference and target", caption, side_by_side(pair)) for pair in panels[:, [0, 1, 3]].cpu()]

    @torch.no_grad()
    def answers(self, batch: Batch) -> list[Picture]:
        """The same pairs, and the target as the network completes it."""
        prepared = self.prepare(batch, torch.Generator())
        reference, target = (self.patches(tensor(prepared, name)) for name in ("reference", "target"))
        masking = random_masking(tensor(prepared, "noise"), self.mask)
        predicted = self.network(reference, target, masking)
        panels = self._panels(batch, self._as_pixels(predicted, take(target, masking.hidden)))
        caption = "From left to right: the reference, the target as it is seen, completed by the network, and whole."
        if self.standard == "patch":
            caption += " Each completed patch has the mean and the contrast of the true one, which nobody predicts."
        return [Picture("Completed", caption, side_by_side(pair)) for pair in panels.cpu()]

    def _panels(self, batch: Batch, completed: Tensor | None) -> Tensor:
        """Reference, masked, completed and whole target of the first pairs: uint8 [pairs, 4, 3, 1, S, S]."""
        reference, target = self.views(batch)
        masking = random_masking(tensor(batch, "noise").flatten(0, 1), self.mask)
        patches, trunk = self.patches(target), self.network.trunk
        filling = take(patches, masking.hidden) if completed is None else completed
        whole, masked, filled = triplet(
            patches, filling, masking, grid=trunk.grid, patch=trunk.patch, blank=_GREY
        ).unbind(1)
        return torch.stack([reference, masked, filled, whole], 1)[:_SHOWN]

    def _as_pixels(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Predicted values [B, M, P] as bytes; what standardising took away comes from the `true` normalised pixels."""
        predicted = unstandardise(predicted, true, self.standard)
        middle, spread = (torch.tensor(side, device=true.device) for side in (self.input.mean, self.input.std))
        colours: Tensor = predicted.unflatten(-1, (-1, 3)) * spread + middle  # type: ignore[no-untyped-call]
        return to_uint8(colours).flatten(-2)

    def products(self) -> Products:
        """The image encoder, whose map has no class token; the decoder is left behind."""
        return Products({"image": ViTEncoder(self.network.trunk, self.input)})
