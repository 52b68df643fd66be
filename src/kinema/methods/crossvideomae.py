"""CrossVideoMAE: masked autoencoders of clips and of their frames, drawn together by contrast.

Ahamed, Gunawardhana et al., "CrossVideoMAE: self-supervised image-video representation learning with masked
autoencoders" (arXiv 2502.07811). A re-implementation from the published description: there is no public code, and what
the description leaves open is an option here, named so on the method's page.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.backbones.vit import vit_size
from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.data.sample import Array, Batch, Clock, Frames, Read, Sample, tensor
from kinema.data.sampling import clip_positions, clip_span, draw_start
from kinema.errors import RecipeError
from kinema.losses.contrastive import nt_xent
from kinema.methods.base import Losses, Method, ParamGroup, Phase, Picture
from kinema.methods.branches import clip_autoencoder, frame_autoencoder, projection, start_branches
from kinema.methods.encoders import ViTEncoder
from kinema.methods.masked import MaskedAutoencoder, Question, ask_clips, predicted_frames, reconstruction_loss, triplet
from kinema.methods.pretext import side_by_side, stretches
from kinema.modules.encoder import EncoderInput, Products
from kinema.modules.gather import gather_rows
from kinema.modules.transformer import take
from kinema.targets.masking import Masking, random_masking
from kinema.targets.patches import Standard, unstandardise
from kinema.views.augment import ClipAugment, MultiView
from kinema.views.colour import ColourJitter, normalise, to_uint8
from kinema.views.crops import ResizedCrop
from kinema.views.photometric import Photometric

Triple = tuple[float, float, float]
CLIP_PIXELS: tuple[Triple, Triple] = ((0.45,) * 3, (0.225,) * 3)
"""Mean and deviation of the video branch: MAE-ST's."""
FRAME_PIXELS: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of the image branch: ImageNet's."""
_SHOWN = 2
"""Clips of which answers are drawn."""


class _Seen(NamedTuple):
    """One branch's look at the first and the second view."""

    loss: Tensor
    embedded: tuple[Tensor, Tensor]


class CrossVideoMAE(Method):
    """Joint masked autoencoding of clips and frames with contrast within and across.

    Args:
        model: size of both encoders: "small", "base" (described) …, see `kinema.backbones.vit.VIT_SIZES`.
        width, depth, heads: of the encoders, in place of the model's.
        decoder_width, decoder_heads: of both decoders.
        decoder_depth: blocks of the video decoder.
        image_decoder_depth: blocks of the image decoder.
        dim: length of the embeddings.
        head_norm: what follows the heads' first layer: "batch", or "layer" for tiny batches.
        patch: side of a patch.
        tubelet: frames of a video token.
        mask: share of video tokens that is hidden.
        image_mask: share of a frame's tokens that is hidden.
        target: "patch" standardises each patch, "none" takes pixels as they are.
        target_frames: frames of the clip that are predicted, evenly chosen; null: all.
        reconstruct: "both" views, or the "raw" one alone.
        temperature: tau of all contrasts.
        intra: weight of the contrast of the two views, among clips and among frames.
        cross: weight of the contrast of clips with their frames.
        pairing: of clips with frames: "averaged", the views' means; "pairwise", each view of the clip with the raw
            frames; "raw_frame", the mean of the clips with the raw frames.
        average: of embeddings as they are ("raw"), or of their directions ("unit").
        same_video: other clips of a video in the batch are left out of the contrast ("exclude") or right answers, too
            ("positive").
        video_weights: file or folder of published weights with which the video encoder begins, such as MAE-ST's; null:
            random ones.
        image_weights: of the image encoder, such as an image MAE's or transformers' ViTMAE.
        freeze_image_encoder: the image branch is not trained but for its head, and reconstructs nothing.
        sampled: frames S of each clip that the image branch sees.
        frames: frames of a clip.
        stride: distance of its frames, in frames of the sampled rate.
        rate: sampled rate in frames per second; null: each video's own.
        window: frames into whose stretches long recordings are cut, one clip from each; null: one clip a video.
        resize: (height, width) of whole frames as read.
        size: side of the square clips.
        scale: range of the crop's area in the first view.
        second_scale: in the second view.
        jitter: largest change of brightness, contrast and saturation (factors) and hue (turns) in the second view.
        grey: probability that the second view has no colours.
        flip: probability of a mirror image in either view; 0 where left and right matter.
    """

    def __init__(
        self,
        *,
        model: str = "base",
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        decoder_width: int = 512,
        decoder_heads: int = 16,
        decoder_depth: int = 4,
        image_decoder_depth: int = 8,
        dim: int = 256,
        head_norm: Literal["batch", "layer"] = "batch",
        patch: int = 16,
        tubelet: int = 2,
        mask: float = 0.95,
        image_mask: float = 0.9,
        target: Standard = "patch",
        target_frames: int | None = None,
        reconstruct: Literal["both", "raw"] = "both",
        temperature: float = 0.1,
        intra: float = 1.0,
        cross: float = 1.0,
        pairing: Literal["averaged", "pairwise", "raw_frame"] = "averaged",
        average: Literal["raw", "unit"] = "raw",
        same_video: Literal["exclude", "positive"] = "exclude",
        video_weights: str | None = None,
        image_weights: str | None = None,
        freeze_image_encoder: bool = False,
        sampled: int = 1,
        frames: int = 16,
        stride: int = 4,
        rate: float | None = None,
        window: int | None = None,
        resize: tuple[int, int] = (256, 340),
        size: int = 224,
        scale: tuple[float, float] = (0.5, 1.0),
        second_scale: tuple[float, float] = (0.2, 1.0),
        jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1),
        grey: float = 0.2,
        flip: float = 0.5,
    ) -> None:
        super().__init__()
        _check(temperature=temperature, sampled=sampled, frames_left=frames - sampled + 1)
        self.input = EncoderInput("video", frames, stride, rate, resize, (size, size), *CLIP_PIXELS)
        self.image_input = EncoderInput("image", 1, 1, rate, resize, (size, size), *FRAME_PIXELS)
        self.shown = predicted_frames(frames, tubelet, target_frames)
        sizes = vit_size(model, width=width, depth=depth, heads=heads)._asdict()
        decoder = {"width": decoder_width, "heads": decoder_heads}
        clip, cube = (frames, size, size), (tubelet, patch, patch)
        outputs = 3 * patch * patch * tubelet * len(self.shown) // frames
        self.video = clip_autoencoder(clip, cube, outputs, sizes, {**decoder, "depth": decoder_depth})
        clip, cube, outputs = (1, size, size), (1, patch, patch), 3 * patch * patch
        self.image = frame_autoencoder(clip, cube, outputs, sizes, {**decoder, "depth": image_decoder_depth})
        dims = self.video.trunk.feature_dim
        self.video_head, self.image_head = (projection(dims, dim, head_norm) for _ in range(2))
        self.weights = {"video": video_weights, "image": image_weights}
        self.mask, self.image_mask, self.target, self.both = mask, image_mask, target, reconstruct == "both"
        for part, share in ((self.video, mask), (self.image, image_mask)):
            random_masking(
                torch.zeros(1, math.prod(part.trunk.grid)), share
            )  # refuse now what would hide all or nothing
        self.temperature, self.intra, self.cross = temperature, intra, cross
        self.pairing, self.average, self.same_video = pairing, average, same_video
        self.sampled, self.window, self.frozen = sampled, window, freeze_image_encoder
        if freeze_image_encoder:
            self.image.requires_grad_(False)
        looks = (Photometric(), Photometric(ColourJitter(*jitter, p=0.8), grey=grey))
        areas = (ResizedCrop(scale), ResizedCrop(second_scale))
        views = (
            ClipAugment((size, size), area, flip, photometric=look) for area, look in zip(areas, looks, strict=True)
        )
        self.views = MultiView(tuple(views))

    def train(self, mode: bool = True) -> CrossVideoMAE:
        """As of any module; a frozen image branch stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.image.eval()
        return self

    def index(self, manifest: Manifest) -> Index:
        """One clip per video and epoch, or one per stretch of `window` frames."""
        return stretches(manifest, self.window, rate=self.input.rate)

    def setup(self, index: Index, *, folder: Path, workers: int) -> None:
        """Published weights into the encoders; what was matched is kept in `folder`."""
        trunks = {"video": self.video.trunk, "image": self.image.trunk}
        start_branches({name: (trunk, self.weights[name]) for name, trunk in trunks.items()}, folder)

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """A clip at a random start, two views of it, S places in time, and the noise of every mask, each its own."""
        available, video, row = index.frames(i, rate=self.input.rate), index.video(i), int(index.rows[i])
        span = clip_span(self.input.frames, self.input.stride)
        positions = clip_positions(draw_start(rng, len(available), span), self.input.frames, self.input.stride)
        chosen = available[np.minimum(positions, len(available) - 1)]
        reads: dict[str, Read] = {"video": Frames(row, chosen, self.input.resize)}
        tokens, patches = (math.prod(part.trunk.grid) for part in (self.video, self.image))
        draws: dict[str, Array] = {
            "noise": rng.random((2, tokens), np.float32),
            "frame_noise": rng.random((2, self.sampled, patches), np.float32),
            "times": np.sort(rng.choice(self.input.frames, self.sampled, replace=False)),
            "group": np.array(zlib.crc32(str(index.manifest.path(row)).encode()), np.int64),
        }
        return Sample(reads, draws | self.views.draw(rng, self.input.resize, measured=(video.height, video.width)))

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Pixels in [0, 1]: "clips" [B, 2, 3, T, S, S], the two views, and "frames" [B, 2, S, 3, S, S] out of them.

        "noise", "frame_noise" and "group" go through.
        """
        clips = torch.stack(self._looks(batch), 1)
        times = tensor(batch, "times").to(clips.device)
        where = times[:, None, None, :, None, None].expand(-1, 2, 3, -1, *clips.shape[-2:])
        frames = clips.gather(3, where).transpose(2, 3)
        rest = {name: tensor(batch, name) for name in ("noise", "frame_noise", "group")}
        return {"clips": clips, "frames": frames, **rest}

    def _looks(self, batch: Batch) -> list[Tensor]:
        return self.views.apply(tensor(batch, "video"), batch)

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Reconstruction of both branches, contrast of the views within each, and of clips with their frames.

        Embeddings of all processes are gathered. Parts: "video" and "image" (reconstruction), "clips" and "frames"
        (contrast within), "cross", and "retrieval": how often a clip's own frames are the nearest in the batch.
        """
        groups = gather_rows(tensor(batch, "group")).rows
        video, image = self._clips(batch), self._frames(batch)
        clips, frames = (self._nt_xent(*branch.embedded, groups)[0] for branch in (video, image))
        crossed, retrieval = self._across(video.embedded, image.embedded, groups)
        loss = video.loss + image.loss + self.intra * (clips + frames) + self.cross * crossed
        parts = {"video": video.loss, "image": image.loss, "clips": clips, "frames": frames, "cross": crossed}
        return {"loss": loss, "parts": {**parts, "retrieval": retrieval}}

    def _clips(self, batch: Batch) -> _Seen:
        asked = self._of_clips(batch)
        made = self.video(asked.patches, asked.masking)
        embedded = self.video_head(made.latent[:, 1:].mean(1)).float()
        return _Seen(self._reconstruction(made.predicted, asked), embedded.chunk(2))

    def _frames(self, batch: Batch) -> _Seen:
        asked = self._of_frames(batch)
        if self.frozen:
            with torch.no_grad():
                latent = self.image.trunk.forward_patches(asked.patches, asked.masking.kept)
            loss = latent.new_zeros(())
        else:
            made = self.image(asked.patches, asked.masking)
            latent, loss = made.latent, self._reconstruction(made.predicted, asked)
        summary = latent[:, 1:].mean(1).unflatten(0, (-1, self.sampled)).mean(1)  # type: ignore[no-untyped-call]
        return _Seen(loss, self.image_head(summary).float().chunk(2))

    def _of_clips(self, batch: Batch) -> Question:
        """All first views, then all second ones."""
        clips, noise = (tensor(batch, name).transpose(0, 1).flatten(0, 1) for name in ("clips", "noise"))
        masking = random_masking(noise, self.mask)
        return ask_clips(normalise(clips, *CLIP_PIXELS), masking, self.video.trunk.patch, self.shown)

    def _of_frames(self, batch: Batch) -> Question:
        """All frames of the first views, then all of the second ones, as clips of one frame."""
        frames, noise = (tensor(batch, name).transpose(0, 1).flatten(0, 2) for name in ("frames", "frame_noise"))
        masking = random_masking(noise, self.image_mask)
        return ask_clips(normalise(frames.unsqueeze(2), *FRAME_PIXELS), masking, self.image.trunk.patch, (0,))

    def _reconstruction(self, predicted: Tensor, asked: Question) -> Tensor:
        # Views lie one after the other, the raw one first, all with as many hidden tokens: a mean of means.
        rows = len(predicted) if self.both else len(predicted) // 2
        part = Masking(asked.masking.kept[:rows], asked.masking.hidden[:rows])
        return reconstruction_loss(predicted[:rows], asked.wanted[:rows], part, self.target)

    def _nt_xent(self, first: Tensor, second: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """NT-Xent among the rows of all processes, and how often the right one is the nearest."""
        rows = gather_rows(torch.cat([first, second], 1))
        left, right = rows.rows.chunk(2, 1)
        found = nt_xent(
            first,
            second,
            joined=(left, right),
            place=rows.first,
            groups=groups,
            same=self.same_video,
            temperature=self.temperature,
        )
        return found.loss, found.accuracy

    def _across(
        self, clips: tuple[Tensor, Tensor], frames: tuple[Tensor, Tensor], groups: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.pairing == "pairwise":
            both = [self._nt_xent(clip, frames[0], groups) for clip in clips]
            return (both[0][0] + both[1][0]) / 2, (both[0][1] + both[1][1]) / 2
        other = frames[0] if self.pairing == "raw_frame" else self._middle(frames)
        return self._nt_xent(self._middle(clips), other, groups)

    def _middle(self, views: tuple[Tensor, Tensor]) -> Tensor:
        first, second = views
        if self.average == "unit":
            first, second = (nn.functional.normalize(view, dim=1) for view in views)
        return (first + second) / 2

    def param_group(self, name: str, parameter: nn.Parameter) -> ParamGroup:
        """No weight decay of biases and other vectors."""
        return ParamGroup(weight_decay=float(parameter.ndim > 1))

    def pictures(self, batch: Batch) -> list[Picture]:
        """Both views of the first clip, and the frames that the image branch sees."""
        pair = torch.stack([to_uint8(view[0]) for view in self._looks(batch)])
        times = ", ".join(str(int(number)) for number in tensor(batch, "times")[0])
        caption = (
            "Two views of one clip, each cropped and coloured once for all of its frames. Both are hidden but for "
            f"{1 - self.mask:.0%} and filled in again; frame {times} of each goes to the image branch, and clips and "
            "frames of one video must recognise each other."
        )
        return [Picture("Two views and a frame", caption, side_by_side(pair))]

    def answers(self, batch: Batch) -> list[Picture]:
        """Both views of the first clips, and their frames, as the networks complete them."""
        ready = self.prepare({name: tensor(batch, name)[:_SHOWN] for name in batch}, torch.Generator())
        caption = "From above: first and second views, what the network sees ({:.0%}), and how it fills in the rest."
        if self.target != "none":
            caption += " Brightness and contrast of each hidden patch are the true ones, which it does not know."
        clips = self._completed(self.video, self._of_clips(ready), CLIP_PIXELS)
        found = [Picture("Completed clips", caption.format(1 - self.mask), clips)]
        if not self.frozen:
            frames = self._completed(self.image, self._of_frames(ready), FRAME_PIXELS)
            found.append(Picture("Completed frames", caption.format(1 - self.image_mask), frames))
        return found

    def _completed(
        self, network: MaskedAutoencoder, asked: Question, pixels: tuple[Triple, Triple]
    ) -> npt.NDArray[np.uint8]:
        predicted = network(asked.patches, asked.masking).predicted
        values = unstandardise(predicted, take(asked.wanted, asked.masking.hidden), self.target)
        shown = triplet(asked.wanted, values, asked.masking, grid=network.trunk.grid, patch=asked.cube, blank=0.0)
        mean, deviation = (torch.tensor(part).view(3, 1, 1, 1) for part in pixels)
        return side_by_side(to_uint8(torch.cat(shown.unbind(1), 3).cpu() * deviation + mean))

    def products(self) -> Products:
        """The video encoder and the image encoder; heads and decoders are left behind."""
        video, image = ViTEncoder(self.video.trunk, self.input), ViTEncoder(self.image.trunk, self.image_input)
        return Products({"video": video, "image": image})


def _check(**positive: float) -> None:
    for name, value in positive.items():
        if value <= 0:
            raise RecipeError(f"{name}={value}: must be above 0")
