"""Claims: seeing a tenth of the tokens costs about a tenth; a step of VideoMAE is faster than that of transformers.

Run `python benchmarks/masked_step.py [--model small] [--side 224] [--frames 16] [--batch 2] [--pairs 10] [--threads 1]
[--json OUT]` (half an hour for the small model at 224 on one core; `--side 112` takes a quarter). Needs transformers.

* Encoder: forward and backward on one visible tenth of the tokens and on all of them, in turns. Printed: the speed-up,
  the ratio of multiply-accumulates (linear layers and attention), and the share of it that arrives.
* Step: `VideoMAEForPreTraining` with scaled_dot_product_attention, and kinema's trainer, from equal weights, with the
  same optimiser, parameter groups, clips and masks; the losses of two steps must agree. Each begins with what workers
  hand over: normalised clips and masks there, patches of bytes and places here. In turns, the order changing from pair
  to pair. Processor time with one thread, wall time with more; medians, and quartiles of the ratio within pairs.
* Memory: largest resident size of a fresh process with network, optimiser and three steps, less what was resident
  before the network was made.
* Ways: kinema's step with each optimiser kernel, attention kernel and, with `--compile`, torch.compile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from kinema.backbones.converters.videomae_hf import to_transformers
from kinema.methods.videomae import VideoMAE
from kinema.modules.transformer import patchify, unpatchify
from kinema.targets.masking import Masking
from kinema.training.recipe import OptimiserConfig, Recipe
from kinema.training.stepper import Stepper

LR, DECAY, BETAS = 1e-4, 0.05, (0.9, 0.95)


class Size(NamedTuple):
    """What is trained, on how much."""

    model: str
    side: int
    frames: int
    batch: int


def method_of(size: Size) -> VideoMAE:
    """VideoMAE at this size, the same weights each time."""
    torch.manual_seed(0)
    return VideoMAE(model=size.model, frames=size.frames, size=size.side).train()


def batch_of(method: VideoMAE, size: Size) -> dict[str, Tensor]:
    """Smooth random clips as prepared patches, and tubes."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(size.batch, 3, size.frames, size.side // 16, size.side // 16, generator=generator)
    clips = nn.functional.interpolate(coarse, (size.frames, size.side, size.side), mode="trilinear")
    patches = patchify((255 * clips).to(torch.uint8), method.network.trunk.patch)
    noise = torch.rand(size.batch, method.network.trunk.grid[1] * method.network.trunk.grid[2], generator=generator)
    return {"patches": patches, **method.masking(noise)._asdict()}


class Kinema:
    """kinema's trainer."""

    def __init__(self, size: Size, **settings: Any) -> None:
        self.method = method_of(size)
        optimiser = OptimiserConfig("adamw", LR, weight_decay=DECAY, betas=BETAS)
        recipe = Recipe("videomae", batch=size.batch, optimiser=optimiser, device="cpu", **settings)
        self.stepper, self.batch = Stepper(self.method, recipe, torch.device("cpu")), batch_of(self.method, size)

    def step(self) -> float:
        """One step; its loss."""
        return float(self.stepper.step([self.batch], 0, LR).loss)


class Transformers:
    """Its model for pre-training in a plain loop."""

    def __init__(self, size: Size, *, fused: bool) -> None:
        from transformers import VideoMAEConfig, VideoMAEForPreTraining

        method = method_of(size)
        trunk, decoder = method.network.trunk, method.network.decoder
        config = VideoMAEConfig(
            image_size=size.side, num_frames=size.frames, hidden_size=trunk.feature_dim, layer_norm_eps=1e-6,
            num_hidden_layers=len(trunk.blocks), num_attention_heads=trunk.heads,
            intermediate_size=4 * trunk.feature_dim, decoder_hidden_size=decoder.project.out_features,
            decoder_num_hidden_layers=len(decoder.blocks), decoder_num_attention_heads=decoder.blocks[0].attn.heads,
            decoder_intermediate_size=4 * decoder.project.out_features, use_mean_pooling=False,
        )  # fmt: skip
        config._attn_implementation = "sdpa"
        self.model = VideoMAEForPreTraining(config).train()
        self.model.load_state_dict(to_transformers(method.network.state_dict()))
        self.model.decoder.norm.eps = 1e-6
        batch = batch_of(method, size)
        clips = method.input.normalise(unpatchify(batch["patches"], trunk.grid, trunk.patch))
        self.clips = clips.transpose(1, 2).contiguous()
        self.mask = Masking(batch["kept"], batch["hidden"]).mask
        free = [p for name, p in self.model.named_parameters() if p.ndim == 1 or name == "mask_token"]
        held = [p for name, p in self.model.named_parameters() if p.ndim > 1 and name != "mask_token"]
        groups = [{"params": held, "weight_decay": DECAY}, {"params": free, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=LR, betas=BETAS, fused=fused)

    def step(self) -> float:
        """One step; its loss."""
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.model(self.clips, bool_masked_pos=self.mask).loss
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


def macs(method: VideoMAE, tokens: int) -> float:
    """Multiply-accumulates of the encoder on so many tokens."""
    trunk = method.network.trunk
    width, depth = trunk.feature_dim, len(trunk.blocks)
    embedding = tokens * method.network.decoder.head.out_features * width
    return embedding + depth * (12 * tokens * width**2 + 2 * tokens**2 * width)


def in_turns(ways: dict[str, Callable[[], object]], pairs: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every way, one after the other, the order changing; the first round is not kept."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(pairs + 1):
        for name in sorted(ways, reverse=bool(turn % 2)):
            begin = clock()
            ways[name]()
            if turn:
                found[name].append(clock() - begin)
    return found


def encoder_part(size: Size, pairs: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Visible tenth against all tokens."""
    method = method_of(size)
    batch = batch_of(method, size)
    patches = (batch["patches"] - method.mean) / method.std

    def run(kept: Tensor | None) -> None:
        method.zero_grad(set_to_none=True)
        method.network.trunk.forward_patches(patches, kept).mean().backward()

    seconds = in_turns({"masked": lambda: run(batch["kept"]), "whole": lambda: run(None)}, pairs, clock)
    counts = [macs(method, tokens) for tokens in (patches.shape[1], batch["kept"].shape[1])]
    return {"seconds": seconds, "flop_ratio": counts[0] / counts[1]}


def ways_of(size: Size, *, compiled: bool) -> dict[str, Callable[[], object]]:
    """The step of kinema in different ways."""
    kernels = {"as shipped": None, "attention: flash": SDPBackend.FLASH_ATTENTION, "attention: plain": SDPBackend.MATH}
    found: dict[str, Callable[[], object]] = {}
    for name, kernel in kernels.items():
        found[name] = _within(Kinema(size), kernel)
    for fused in (False, True):
        arm = Kinema(size)
        groups = [{**group} for group in arm.stepper.optimisers["main"].param_groups]
        for group in groups:
            group.update(fused=fused, foreach=None)
        arm.stepper.optimisers["main"] = torch.optim.AdamW(groups, lr=LR, betas=BETAS, fused=fused)
        found[f"AdamW: {'fused' if fused else 'loop'}"] = arm.step
    if compiled:
        found["torch.compile"] = Kinema(size, compile=True).step
    return found


def _within(arm: Kinema, kernel: SDPBackend | None) -> Callable[[], object]:
    def step() -> None:
        with nullcontext() if kernel is None else sdpa_kernel(kernel):
            arm.step()

    return step


def one_arm(arm: str, size: Size, fused: bool) -> None:
    """Print how far network, optimiser and three steps raise the resident size of this process, in megabytes."""
    from transformers import VideoMAEForPreTraining

    # Imported in both arms: what its modules weigh is not the question.
    assert VideoMAEForPreTraining
    before = resident()
    made = Kinema(size) if arm == "kinema" else Transformers(size, fused=fused)
    for _ in range(3):
        made.step()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    print((most - before) / 1e6)


def resident() -> float:
    """Bytes of this process in memory, now; the largest so far where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * float(os.sysconf("SC_PAGE_SIZE"))
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if platform.system() == "Darwin" else 1024.0)


def peak_memory(arm: str, arguments: argparse.Namespace) -> float:
    """Megabytes of one arm in processes of its own: the median of three."""
    command = [sys.executable, __file__, "--arm", arm]
    for name in ("model", "side", "frames", "batch", "threads", "optimiser"):
        command += [f"--{name}", str(getattr(arguments, name))]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(3)]
    return statistics.median(float(run.splitlines()[-1]) for run in runs)


def told(ours: list[float], theirs: list[float]) -> str:
    """Medians in milliseconds, and the ratio with its quartiles."""
    low, middle, high = statistics.quantiles([b / a for a, b in zip(ours, theirs, strict=True)], n=4)
    times = [1000 * statistics.median(values) for values in (ours, theirs)]
    return f"{times[0]:.0f} ms against {times[1]:.0f} ms: {middle:.2f} ({low:.2f} … {high:.2f})"


def step_part(size: Size, pairs: int, clock: Callable[[], float], *, fused: bool) -> dict[str, list[float]]:
    """Both arms, after their losses have been compared."""
    arms = {"kinema": Kinema(size), "transformers": Transformers(size, fused=fused)}
    for _ in range(2):
        losses = [arm.step() for arm in arms.values()]
        assert abs(losses[0] / losses[1] - 1) < 1e-4, f"losses differ: {losses}"
    return in_turns({name: arm.step for name, arm in arms.items()}, pairs, clock)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="small")
    for name, default in {"side": 224, "frames": 16, "batch": 2, "pairs": 10, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--parts", nargs="+", default=["encoder", "step", "memory", "ways"])
    parser.add_argument("--optimiser", choices=("fused", "loop"), default="fused", help="of the arm of transformers")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", choices=("kinema", "transformers"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write everything to `--json` where asked."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    size = Size(arguments.model, arguments.side, arguments.frames, arguments.batch)
    fused = arguments.optimiser == "fused"
    if arguments.arm:
        one_arm(arguments.arm, size, fused)
        return
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    record: dict[str, Any] = {"size": size._asdict(), "torch": torch.__version__, "threads": arguments.threads}
    if "encoder" in arguments.parts:
        record["encoder"] = found = encoder_part(size, arguments.pairs, clock)
        seconds, ratio = found["seconds"], found["flop_ratio"]
        gained = statistics.median(w / m for m, w in zip(seconds["masked"], seconds["whole"], strict=True))
        print("encoder:", told(seconds["masked"], seconds["whole"]), f"of {ratio:.2f}, share {gained / ratio:.2f}")
    if "step" in arguments.parts:
        record["step"] = taken = step_part(size, arguments.pairs, clock, fused=fused)
        print("step, kinema against transformers:", told(taken["kinema"], taken["transformers"]), flush=True)
    if "memory" in arguments.parts:
        record["megabytes"] = memory = {arm: peak_memory(arm, arguments) for arm in ("kinema", "transformers")}
        print("memory:", ", ".join(f"{arm} {value:.0f} MB" for arm, value in memory.items()), flush=True)
    if "ways" in arguments.parts:
        ways = in_turns(ways_of(size, compiled=arguments.compile), arguments.pairs, clock)
        record["ways"] = ways
        for name, values in ways.items():
            print(f"{name}:", told(ways["as shipped"], values))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
