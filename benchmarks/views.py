"""Claim: the strong view of contrastive methods costs a fraction of the stock chain, with the same numbers drawn.

Run `python benchmarks/views.py [--clips 8] [--rounds 15] [--size 112] [--json OUT]` with kornia installed (a minute).
Random resized crop, mirror, jitter (0.4, 0.4, 0.4, 0.1; p 0.8), greyscale (0.2), Gaussian blur (23 taps, sigma 0.1 to
2; p 0.5), solarisation (0.2), from uint8 clips of 16 frames at 128 x 171. One thread, inference mode.

The peer is kornia at its best: both as one VideoSequential over the batch and clip by clip with its frames as the batch
(the crop by slicing, which is faster than its warping); the faster of the two counts. In every round kornia draws, and
ours applies the very same numbers: so both blur the same clips with the same widths. Conversion from bytes is timed on
both sides. Kinds take turns; median and inter-quartile range of processor time over the rounds.

* "matrix": our default, jitter and greyscale as one matrix; "exact": each operation cut to [0, 1], hue in HSV.
* "geometry": random resized crop and mirror alone, beside kornia's.
* How far the results lie apart is measured in the same run, so that nobody is fast by doing something else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from kinema.views import Blur, ClipAugment, ColourJitter, Photometric, ResizedCrop

FRAMES, HEIGHT, WIDTH, TAPS = 16, 128, 171, 23
SCALE, RATIO = (0.3, 1.0), (3 / 4, 4 / 3)
GREY = (0.299, 0.587, 0.114)


def ours(size: int, *, exact: bool) -> ClipAugment:
    """Our view; in exact mode with kornia's contrast, which is about each frame's own mean."""
    pivot = "frame" if exact else "clip"
    jitter = ColourJitter(0.4, 0.4, 0.4, 0.1, p=0.8, exact=exact, pivot=pivot, grey=GREY)
    colours = Photometric(jitter, 0.2, None, Blur(0.5, taps=TAPS), 0.2, grey_weights=GREY)
    return ClipAugment((size, size), ResizedCrop(SCALE, RATIO), photometric=colours)


def stock_chain(size: int) -> list[Any]:
    """The same operations as kornia's modules."""
    import kornia.augmentation as stock

    return [
        stock.RandomResizedCrop((size, size), SCALE, RATIO, cropping_mode="slice", align_corners=False),
        stock.RandomHorizontalFlip(0.5),
        stock.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        stock.RandomGrayscale(p=0.2),
        stock.RandomGaussianBlur((TAPS, TAPS), (0.1, 2.0), p=0.5),
        stock.RandomSolarize((0.5, 0.5), 0.0, p=0.2),
    ]


def draws_of(params: list[Any], frames: int) -> dict[str, Tensor]:
    """What kornia drew for a batch of clips, one row per clip instead of per frame, under our names.

    `batch_prob` says which operations were drawn; the order of the jitter is one for the whole batch.
    """
    crop, flip, jitter, grey, blur, solarised = (param.data for param in params)
    drawn = [step["batch_prob"][::frames] > 0.5 for step in (crop, flip, jitter, grey, blur, solarised)]
    first, last = crop["src"][::frames, 0], crop["src"][::frames, 2]
    box = torch.stack([first[:, 1], first[:, 0], last[:, 1] - first[:, 1] + 1, last[:, 0] - first[:, 0] + 1], 1)
    names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    factors = torch.stack([jitter[name][::frames].float() for name in names], 1)
    return {
        "box": box.long(),
        "flip": drawn[1],
        "factors": torch.where(drawn[2][:, None], factors, torch.tensor([1.0, 1.0, 1.0, 0.0])),
        "factor_order": jitter["order"].expand(len(box), 4),
        "grey": drawn[3],
        "sigma": torch.where(drawn[4], blur["sigma"][::frames].float(), 0.0),
        "solarised": drawn[5],
    }


def of_clip(params: list[Any], clip: int, shape: tuple[int, ...]) -> list[Any]:
    """Kornia's numbers for one clip of a batch, whose frames [T, 3, H, W] are the batch now."""
    rows = slice(clip * FRAMES, (clip + 1) * FRAMES)
    shared = ("order", "video_batch_size")
    found = [
        {k: v if k in shared or k == "forward_input_shape" else v[rows] for k, v in param.data.items()}
        for param in params
    ]
    return [
        param._replace(data=data | {"forward_input_shape": torch.tensor(shape)})
        for param, data in zip(params, found, strict=True)
    ]


def natural_clips(count: int) -> Tensor:
    """uint8 [B, 3, T, 128, 171]: smooth coloured textures that drift, with the contrast of photographs."""
    rng = np.random.default_rng(0)
    clips = np.empty((count, 3, FRAMES, HEIGHT, WIDTH), np.uint8)
    for clip in clips:
        texture = np.zeros((HEIGHT + FRAMES, WIDTH + FRAMES, 3), np.float32)
        for sigma in (1, 4, 16):
            layer = cv2.GaussianBlur(rng.normal(size=texture.shape).astype(np.float32), (0, 0), sigma)
            texture += layer / layer.std()
        texture = 128 + 40 * texture + 20 * rng.normal(size=3)
        for t in range(FRAMES):
            clip[:, t] = texture[t : t + HEIGHT, t : t + WIDTH].clip(0, 255).transpose(2, 0, 1)
    return torch.from_numpy(clips)


def of_batch(chain: Any, clips: Tensor, numbers: list[Any]) -> Tensor:
    return chain(clips.float() / 255, params=numbers)


def of_each(chain: Any, clips: Tensor, numbers: list[list[Any]]) -> list[Tensor]:
    return [chain(clip.transpose(0, 1).float() / 255, params=n) for clip, n in zip(clips, numbers, strict=True)]


def measure(clips: Tensor, size: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds of each kind, and distances between results, in turns; the first round is not kept."""
    import kornia.augmentation as stock

    chain, matrix, exact = stock_chain(size), ours(size, exact=False), ours(size, exact=True)
    plain = ClipAugment((size, size))
    batch = stock.VideoSequential(*chain, data_format="BCTHW", same_on_frame=True)
    batch_shape = stock.VideoSequential(*chain[:2], data_format="BCTHW", same_on_frame=True)
    single = stock.AugmentationSequential(*chain, same_on_batch=True)
    single_shape = stock.AugmentationSequential(*chain[:2], same_on_batch=True)
    times: dict[str, list[float]] = {}
    apart: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        torch.manual_seed(turn)
        floats = clips.float() / 255
        wanted = batch(floats)
        numbers = batch._params
        draws = draws_of(numbers, FRAMES)
        alone = [of_clip(numbers, i, (FRAMES, 3, HEIGHT, WIDTH)) for i in range(len(clips))]
        kinds = {
            "kornia, batch": partial(of_batch, batch, clips, numbers),
            "kornia, clip by clip": partial(of_each, single, clips, alone),
            "ours, matrix": partial(matrix.apply, clips, draws),
            "ours, exact": partial(exact.apply, clips, draws),
            "kornia, batch, geometry": partial(of_batch, batch_shape, clips, numbers[:2]),
            "kornia, clip by clip, geometry": partial(of_each, single_shape, clips, [n[:2] for n in alone]),
            "ours, geometry": partial(matrix.geometry, clips, draws),
            "ours, geometry as floats": partial(plain.apply, clips, draws),
        }
        for kind, run in kinds.items():
            start = time.process_time()
            run()
            if turn:
                times.setdefault(kind, []).append(1000 * (time.process_time() - start))
        found = {
            "kornia, clip by clip": torch.stack(of_each(single, clips, alone)).transpose(1, 2),
            "exact, from floats": exact.apply(floats, draws),
            "exact, from bytes": exact.apply(clips, draws),
            "matrix, from bytes": matrix.apply(clips, draws),
        }
        for kind, result in found.items():
            apart.setdefault(kind, []).append(float((result - wanted).abs().mean()) * 255)
    return times, apart


def table(times: dict[str, list[float]]) -> dict[str, float]:
    """Print medians and ranges; the ratios against the faster of kornia's two ways."""
    medians = {kind: statistics.median(taken) for kind, taken in times.items()}
    best = min(medians["kornia, batch"], medians["kornia, clip by clip"])
    best_shape = min(medians["kornia, batch, geometry"], medians["kornia, clip by clip, geometry"])
    print(f"{'':<34} {'ms/batch':>9} {'IQR':>18} {'times faster':>13}")
    ratios = {}
    for kind, taken in times.items():
        low, median, high = statistics.quantiles(taken, n=4)
        ratios[kind] = (best_shape if "geometry" in kind else best) / median
        print(f"{kind:<34} {median:9.1f} {low:8.1f} …{high:8.1f} {ratios[kind]:12.1f}x")
    return ratios


def main() -> None:
    """Measure, print the table, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    warnings.filterwarnings("ignore", module="kornia")
    import kornia

    with torch.inference_mode():
        times, apart = measure(natural_clips(arguments.clips), arguments.size, arguments.rounds)
    shapes = f"{FRAMES} frames, {HEIGHT} x {WIDTH} to {arguments.size} x {arguments.size}"
    print(f"{arguments.clips} clips of {shapes}, kornia {kornia.__version__}")
    ratios = table(times)
    distance = {kind: statistics.mean(values) for kind, values in apart.items()}
    for kind, value in distance.items():
        print(f"mean distance from kornia's result, {kind}: {value:.3f} of 255 levels")
    if arguments.json:
        machine = {"torch": torch.__version__, "kornia": kornia.__version__, "opencv": cv2.__version__}
        machine |= {"system": platform.platform(), "cores": os.cpu_count(), "threads": 1}
        record = {"machine": machine, "clips": arguments.clips, "size": arguments.size, "milliseconds": times}
        record |= {"times_faster": ratios, "levels_from_kornia": distance}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
