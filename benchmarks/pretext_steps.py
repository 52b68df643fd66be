"""Claim: a training step of a pretext costs what its best plain PyTorch formulation costs, in time and in memory.

Run `python benchmarks/pretext_steps.py [METHOD ...] [--scale tiny] [--pairs 15] [--threads 1] [--json OUT]` (a quarter
of an hour for all six). `tiny` has the sizes of the tiny recipes, where what is no convolution weighs most;
`published` has the published width, 16 frames and 112 pixels, at a batch that a small machine holds (an hour).

A step is everything between the frames as read (uint8 clips and drawn numbers, in memory) and the moved weights: views,
labels and masks, losses, backward, SGD with momentum and decay, queue and key network. The peers in
`benchmarks/peers` are plain PyTorch with the same network, arithmetic, batch and threads, and nothing besides; kinema's
arm is what `kinema pretrain` runs, guards and measured parts included.

The peers at their best: the faster of both memory layouts, measured in the run; in-place sums; fused SGD; views clip by
clip, so that a clip stays in the processor's cache (whole batches took twice as long); masks of PRP without repeats;
colours of RSPNet for shown frames only. Tried, and no faster on a CPU: SGD by `foreach` or in a loop, inference mode
for the keys, channels-last inputs.

* First both must do the same. Prepared clips agree: bytes and masks exactly, resampled floats to half a level on
  average (kinema rounds them to bytes between geometry and colours, the peers do not). From equal weights, on the same
  clips, the first losses agree to 1e-5 and the second ones, after a step, a queue and a moving average, to 1e-3.
* Then they take turns in one process, the order changing from pair to pair. Processor time with one thread, wall time
  with more; medians, and the quartiles of the ratio within pairs.
* Peak memory: largest resident size of a fresh process over five steps, less what was resident before the first one;
  median of three processes of each.
* Last: what gathering and shuffling cost in one process, where they have nothing to do.

Clips come from videos made on the spot.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import torch
from peers.step import PlainStep
from torch import Tensor

from kinema.data.loading import Request, deliver, request_generator
from kinema.data.sample import Batch, Clock
from kinema.data.scan import scan
from kinema.methods.base import Method
from kinema.modules.gather import all_gather, gather_rows
from kinema.modules.shuffle import shuffled
from kinema.randomness import key_entropy
from kinema.training.recipe import Recipe, load_recipe
from kinema.training.stepper import Stepper

METHODS = ("rotnet", "vcop", "prp", "rspnet", "tdl", "cvrl")
LR, MOMENTUM, DECAY = 0.01, 0.9, 1e-4
PUBLISHED = {"width": 64, "frames": 16, "resize": [128, 171], "size": 112}
BATCH = {"rotnet": 4, "vcop": 2, "prp": 2, "rspnet": 4, "tdl": 4, "cvrl": 4}
ALWAYS: dict[str, dict[str, Any]] = {
    "vcop": {"dropout": 0.5},
    "prp": {"dilations": [1, 2, 4], "rate_weight": 0.1, "classifier_lr": 10.0},
    "rspnet": {"speeds": [2]},
    "cvrl": {"backbone": "r3d_50", "views": "asymmetric", "jitter": 1.0},
}
"""Options in which a tiny recipe leaves the published form, which the peers have."""
OWN: dict[str, dict[str, Any]] = {
    "prp": {"dilations": [1, 2, 4, 8]},
    "rspnet": {"dim": 128, "queue": 16384},
    "tdl": {"dim": 128, "queue": 16384, "stride": 4, "window": 32, "short_side": 128},
    "cvrl": {"dim": 128, "hidden_width": 2048},
}
"""Published sizes that only one method has, at `--scale published`."""


def recipe_of(name: str, scale: str) -> Recipe:
    """The tiny recipe with plain SGD, or the same at published size."""
    settings: dict[str, Any] = {"optimiser.name": "sgd", "optimiser.lr": LR, "optimiser.momentum": MOMENTUM}
    settings |= {"optimiser.weight_decay": DECAY, "clip_grad": None, "device": "cpu", "workers": 0}
    options = ALWAYS.get(name, {})
    if scale == "published":
        options = options | PUBLISHED | OWN.get(name, {})
        settings["batch"] = BATCH[name]
    settings |= {f"options.{key}": value for key, value in options.items()}
    return load_recipe(name, "tiny", settings)


def peer_of(name: str, recipe: Recipe, *, channels_last: bool) -> PlainStep:
    """The plain formulation of the same recipe."""
    options = recipe.options
    wanted: dict[str, Any] = {"width": options["width"], "size": options["size"]}
    if name == "prp":
        wanted["dilations"] = tuple(options["dilations"])
    if name in ("rspnet", "tdl"):
        wanted |= {key: options[key] for key in ("dim", "queue", "momentum")}
    if name == "cvrl":
        wanted |= {"dim": options["dim"], "hidden": options["hidden_width"]}
        wanted["head_momentum"] = options["head_momentum"]
    peer: PlainStep = importlib.import_module(f"peers.{name}").Peer(**wanted)
    if channels_last:
        peer = peer.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    peer.start(LR, MOMENTUM, DECAY)
    return peer.train()


def write_videos(folder: Path, count: int) -> None:
    """Short videos of drifting textures, 240 x 320, long enough for every method at every scale."""
    for number in range(count):
        rng = np.random.default_rng(number)
        texture = sum(cv2.GaussianBlur(rng.normal(size=(400, 480, 3)), (0, 0), s) * 60 * s for s in (1, 4, 16))
        texture = np.clip(128 + np.asarray(texture) + 30 * rng.normal(size=3), 0, 255).astype(np.uint8)
        with av.open(str(folder / f"{number:02}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.height, stream.width, stream.pix_fmt, stream.bit_rate = 240, 320, "yuv420p", 4_000_000
            for t in range(160):
                frame = np.ascontiguousarray(texture[t : t + 240, t : t + 320])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())


class Arms:
    """Both formulations of one method on one batch."""

    def __init__(self, name: str, recipe: Recipe, read: Batch, request: Request, *, channels_last: bool) -> None:
        self.recipe, self.read, self.request = recipe, read, request
        torch.manual_seed(0)
        self.method: Method = recipe.build().train()
        self.peer = peer_of(name, recipe, channels_last=channels_last)
        self.peer.load(list(self.method.state_dict().values()))
        if recipe.channels_last:
            self.method.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.stepper = Stepper(self.method, recipe, torch.device("cpu"))

    def kinema_prepared(self) -> Batch:
        """What kinema's network is shown."""
        return self.method.prepare(self.read, request_generator(0, self.request))

    def plain_prepared(self) -> Batch:
        """What the peer's network is shown."""
        self.peer.generator = request_generator(0, self.request)
        return self.peer.prepare(self.read)

    def kinema_step(self, ready: Batch, number: int) -> Tensor:
        """The loss of a step of the trainer."""
        return self.stepper.step([ready], number, LR).loss

    def plain_step(self, ready: Batch, number: int) -> Tensor:
        """The loss of a plain step."""
        return self.peer.step(ready)


class Agreement(NamedTuple):
    """Mean distance of prepared clips in levels of 255; largest relative difference of two losses."""

    levels: float
    loss: float


def check(arms: Arms) -> Agreement:
    """Assert that both arms prepare the same clips, and measure the same losses on kinema's."""
    ours, plain = arms.kinema_prepared(), arms.plain_prepared()
    # A level of 255 in the units that networks are fed.
    level = 1 / (255 * min(arms.method.input.std))
    levels = 0.0
    for name, value in plain.items():
        apart = (ours[name].double() - value.double()).abs()
        if value.dtype != torch.float32 or name == "mask":
            assert float(apart.max()) < 1e-5, f"{name}: not the same"
        else:
            levels = max(levels, float(apart.mean()) / level)
    assert levels < 0.5, f"clips are {levels:.2f} levels apart on average"
    losses = []
    for number in range(2):
        loss = float(arms.kinema_step(ours, number))
        # What the trainer seeds dropout with.
        torch.manual_seed(key_entropy(arms.recipe.seed, "step", number, 0) & 0x7FFF_FFFF_FFFF_FFFF)
        losses.append(abs(float(arms.plain_step(ours, number)) / loss - 1))
    assert losses[0] < 1e-5, f"losses differ by {losses[0]:.1e}"
    assert losses[1] < 1e-3, f"losses of the second step differ by {losses[1]:.1e}"
    return Agreement(levels, max(losses))


class Taken(NamedTuple):
    """Seconds of preparing and of the rest of a step."""

    views: float
    step: float


def timed(prepare: Callable[[], Batch], step: Callable[[Batch, int], Tensor], clock: Callable[[], float]) -> Taken:
    """One step of one arm."""
    begin = clock()
    ready = prepare()
    middle = clock()
    step(ready, 5)
    return Taken(middle - begin, clock() - middle)


def in_turns(arms: Arms, pairs: int, clock: Callable[[], float]) -> dict[str, list[Taken]]:
    """Both arms, pair by pair, each first in every second pair; two pairs are not kept."""
    ways = {
        "kinema": (arms.kinema_prepared, arms.kinema_step),
        "plain": (arms.plain_prepared, arms.plain_step),
    }
    found: dict[str, list[Taken]] = {"kinema": [], "plain": []}
    for pair in range(pairs + 2):
        for arm in sorted(ways, reverse=bool(pair % 2)):
            taken = timed(*ways[arm], clock)
            if pair >= 2:
                found[arm].append(taken)
    return found


def best_layout(name: str, recipe: Recipe, read: Batch, request: Request, clock: Callable[[], float]) -> bool:
    """Whether the peer is faster with channels last."""
    taken = {}
    for channels_last in (False, True):
        arms = Arms(name, recipe, read, request, channels_last=channels_last)
        runs = [timed(arms.plain_prepared, arms.plain_step, clock) for _ in range(4)]
        taken[channels_last] = min(run.step for run in runs[1:])
    return taken[True] < taken[False]


def peak_memory(name: str, scale: str, arm: str, folder: Path, threads: int) -> float:
    """Megabytes of one arm in processes of its own: the median of three."""
    command = [sys.executable, __file__, name, "--scale", scale, "--arm", arm, "--folder", str(folder)]
    command += ["--threads", str(threads)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(3)]
    return statistics.median(float(run.splitlines()[-1]) for run in runs)


def one_arm(name: str, scale: str, arm: str, folder: Path) -> None:
    """Print how far five steps raise the resident size of this process, in megabytes."""
    recipe = recipe_of(name, scale)
    read, request, channels_last = torch.load(folder / f"{name}.pt", weights_only=False)
    torch.manual_seed(0)
    generator = request_generator(0, request)
    if arm == "kinema":
        method = recipe.build().train()
        if recipe.channels_last:
            method.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        stepper = Stepper(method, recipe, torch.device("cpu"))
        before = resident()
        for number in range(5):
            stepper.step([method.prepare(read, generator)], number, LR)
    else:
        peer = peer_of(name, recipe, channels_last=channels_last)
        peer.generator = generator
        before = resident()
        for _ in range(5):
            peer.step(peer.prepare(read))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    print((most - before) / 1e6)


def resident() -> float:
    """Bytes of this process in memory, now; the largest so far where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * float(os.sysconf("SC_PAGE_SIZE"))
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if platform.system() == "Darwin" else 1024.0)


def machinery(repeats: int = 2000) -> dict[str, float]:
    """Microseconds of what several processes need, in one."""
    rows, clips = torch.randn(16, 64), torch.randn(16, 3, 8, 64, 64)
    ways: dict[str, Callable[[], Any]] = {
        "all_gather": lambda: all_gather(rows),
        "gather_rows": lambda: gather_rows(rows),
        "shuffled": lambda: shuffled(torch.Tensor.detach, clips, step=0),
    }
    found = {}
    for name, run in ways.items():
        begin = time.perf_counter()
        for _ in range(repeats):
            run()
        found[name] = (time.perf_counter() - begin) / repeats * 1e6
    return found


def measure(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything about one method."""
    recipe = recipe_of(name, arguments.scale)
    method = recipe.build()
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    index = method.index(scan(folder, workers=1).manifest)
    samples = tuple(i % len(index) for i in range(recipe.batch))
    request = Request(Clock(0, 0, 0.0), samples, tuple(i // len(index) for i in range(recipe.batch)))
    read = next(iter(deliver(method, index, [request], seed=0, workers=0, prepare=False))).batch
    assert read is not None
    channels_last = best_layout(name, recipe, read, request, clock)
    torch.save((read, request, channels_last), folder / f"{name}.pt")
    arms = Arms(name, recipe, read, request, channels_last=channels_last)
    agreement = check(arms)
    taken = in_turns(arms, arguments.pairs, clock)
    del arms
    ways = ("plain", "kinema")
    memory = {arm: peak_memory(name, arguments.scale, arm, folder, arguments.threads) for arm in ways}
    network = f"{recipe.options['backbone']}, width {recipe.options['width']}"
    size = f"{recipe.options['frames']} x {recipe.options['size']}²"
    found = {"network": network, "size": size, "batch": recipe.batch, "layout_of_peer": channels_last}
    seconds = {arm: [list(run) for run in runs] for arm, runs in taken.items()}
    return found | {"agreement": agreement._asdict(), "seconds": seconds, "megabytes": memory}


def row(name: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    totals = {arm: [sum(run) for run in runs] for arm, runs in found["seconds"].items()}
    ratios = [ours / plain for ours, plain in zip(totals["kinema"], totals["plain"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    cells = [name, f"{found['network']}, {found['batch']} x {found['size']}"]
    for arm in ("plain", "kinema"):
        views = statistics.median(run[0] for run in found["seconds"][arm])
        cells.append(f"{1000 * statistics.median(totals[arm]):.0f} ({1000 * views:.0f})")
    cells.append(f"{middle:.3f} ({low:.3f} … {high:.3f})")
    plain, ours = (found["megabytes"][arm] for arm in ("plain", "kinema"))
    cells += [f"{plain:.0f}", f"{ours:.0f}", f"{ours / plain:.2f}"]
    return f"| {' | '.join(cells)} |"


HEAD = """\
| method | network, batch | plain PyTorch, ms (views) | kinema, ms (views) | kinema / plain (quartiles) | plain, MB | \
kinema, MB | ratio |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    """Measure, print the table, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(METHODS)}; none: all")
    parser.add_argument("--scale", choices=("tiny", "published"), default="tiny")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", choices=("kinema", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    if arguments.arm:
        one_arm(arguments.methods[0], arguments.scale, arguments.arm, arguments.folder)
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        write_videos(Path(folder), 16)
        print(HEAD)
        for name in arguments.methods or METHODS:
            results[name] = measure(name, Path(folder), arguments)
            print(row(name, results[name]), flush=True)
    print("\nagreement: " + "; ".join(f"{name} {agreed(found)}" for name, found in results.items()))
    idle = machinery()
    print("in one process, microseconds per call: " + ", ".join(f"{name} {us:.1f}" for name, us in idle.items()))
    if arguments.json:
        machine = {"torch": torch.__version__, "system": platform.platform(), "cores": os.cpu_count()}
        machine |= {"threads": arguments.threads}
        record = {"machine": machine, "scale": arguments.scale, "methods": results, "one_process_microseconds": idle}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def agreed(found: dict[str, Any]) -> str:
    """How near both arms were, in words."""
    same = found["agreement"]
    return f"{same['levels']:.3f} levels, losses {same['loss']:.0e}, channels last {found['layout_of_peer']}"


if __name__ == "__main__":
    main()
