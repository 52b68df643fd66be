"""Claim: each ConvNet pretext teaches what it is meant to teach, and what it teaches beside.

Run `python benchmarks/pretext_probes.py WORLD [options] [key=value …]`. Every method is pre-trained with recipe `tiny`
for the steps that fill the same time on one core (`STEPS`), with each seed, on clips without labels; a linear probe and
nearest neighbours then read facts off its frozen features, beside its own untrained network, plain and with BatchNorm
statistics of training clips.

* `drift`: a camera drifts past a textured ground and one of sixteen bodies: how fast, where to, which body, in which
  region it moves. Beside the probes, `instance`: the nearest of 1,000 augmented test clips to another augmented
  clip must be of the same video, with the published views of CVRL and with the weaker ones of its recipe `tiny`.
* `order`: two motions one after the other; which came first.
* `turned`: persons, some of whose test clips are turned by quarters; how far.
* `ut`: UT-Interaction (`--data DIR`), pre-training on all clips (transductive), leave one sequence out, 20 folds.
* `trials`: the same on the training sequences 1-7 and 11-17 alone, for choosing settings.

Finished runs, features and evaluations are used again. Differences are paired over test clips (`ut`: sequences) and
seeds, 95 % bootstrap.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from statistics_methods import SIZE, packed, render
from ut_interaction import labelled, read_clips, train_part

from kinema import Manifest, load_recipe, pretrain, scan
from kinema.data.index import per_row
from kinema.data.loading import Request, deliver
from kinema.data.opening import open_manifest
from kinema.data.sample import Clock
from kinema.data.synthetic import PersonWorld, World
from kinema.data.synthetic.encode import write_video
from kinema.data.synthetic.facts import PACES, direction_class
from kinema.evaluation import EvaluationSettings, Extraction, Results, evaluate
from kinema.evaluation.baselines import calibrated
from kinema.evaluation.compare import Judged, compare
from kinema.evaluation.extract import frozen
from kinema.evaluation.rows import Comparison
from kinema.methods.cvrl import CVRL
from kinema.modules.encoder import Encoder, shown
from kinema.training.checkpoint import Run, checkpoints, load_run
from kinema.video.decode import read_frames
from kinema.views.colour import to_uint8

STEPS = {"rotnet": 180, "vcop": 80, "prp": 100, "rspnet": 120, "tdl": 90, "cvrl": 70}
"""Of recipe `tiny`: about 50 seconds of one quiet core each, beside its reader."""

WORLDS = {
    "drift": World(
        size=SIZE,
        camera=0.6,
        distractors=0,
        classes=("translate",),
        border="wrap",
        identities=16,
        speeds=(0.15,),
        directions=8,
    ),
    "order": World(
        size=SIZE, camera=0.0, distractors=0, clutter=0.1, classes=("translate", "orbit", "rotate", "pulse"), events=2
    ),
    "turned": PersonWorld(size=SIZE, persons=1, camera=0.0),
}
VIEWS: dict[str, dict[str, Any]] = {"published": {}, "tiny": {"views": "symmetric", "jitter": 0.25}}
BASE = ("untrained", "untrained-calibrated")
LABELS = {
    "drift": ("camera_speed", "camera_direction", "region", "identity"),
    "order": ("order", "pair"),
    "turned": ("turn", "label"),
    "ut": ("label",),
    "trials": ("label",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=tuple(LABELS))
    parser.add_argument("--data", type=Path, help="UT-Interaction")
    parser.add_argument("--out", type=Path, default=Path("runs/pretexts"))
    parser.add_argument("--clips", type=int, default=1400, help="of the synthetic world")
    parser.add_argument("--train", type=int, default=400, help="of those, for training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=[*STEPS], choices=[*STEPS])
    parser.add_argument("--only", choices=("pretrain", "evaluate"))
    parser.add_argument("--name", default="", help="of this variant of the settings, where there are several")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    options.out = options.out / options.world
    torch.set_num_threads(1)
    clips, material = prepare(options)
    for method in options.methods:
        if options.only != "evaluate":
            for seed in options.seeds:
                train(method, seed, material, options)
        if options.only != "pretrain":
            judge(method, clips, material, options)


def prepare(options: argparse.Namespace) -> tuple[Manifest, Manifest]:
    """The clips to evaluate on and those to pre-train on, both from a packed store of the size that `tiny` reads.

    A store that is there is used as it is.
    """
    done = options.out / "frames" / "manifest.parquet"
    clips = open_manifest(done) if done.exists() else packed(source_of(options), options.out)
    if options.world in ("ut", "trials"):
        clips = clips if options.world == "ut" else train_part(clips)
        return labelled(clips), clips
    upright = options.out / "upright" / "frames" / "manifest.parquet"
    return clips, open_manifest(upright) if options.world == "turned" else train_part(clips)


def source_of(options: argparse.Namespace) -> Manifest:
    """The clips of a world before they are packed; what `turned` trains on is packed here."""
    if options.world in ("ut", "trials"):
        return read_clips(options.data)
    clips = render(options, WORLDS[options.world])
    if options.world == "turned":
        packed(train_part(clips), options.out / "upright")
        return turned(clips, options.out / "turned")
    return with_camera(clips) if options.world == "drift" else clips


def with_camera(clips: Manifest) -> Manifest:
    """The clips with classes of the camera's drift: a third of its speeds each, and the nearest of eight directions."""
    drift = np.stack([clips.column("camera_x"), clips.column("camera_y")], 1).astype(float)
    speed = np.linalg.norm(drift, axis=1)
    third = np.searchsorted(np.quantile(speed, (1 / 3, 2 / 3)), speed)
    classes = zip(third.tolist(), np.arctan2(drift[:, 1], drift[:, 0]).tolist(), strict=True)
    rows = [
        {**clips.row(i), "camera_speed": PACES[pace], "camera_direction": direction_class(angle)}
        for i, (pace, angle) in enumerate(classes)
    ]
    return Manifest.from_rows(rows, clips.root)


def turned(clips: Manifest, folder: Path) -> Manifest:
    """A copy of every clip whose central square, of which networks see a part, is turned; by how much in `turn`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["path,turn,label,split"]
    height, width = SIZE
    square = np.s_[:, :, (width - height) // 2 : (width + height) // 2]
    for i in range(len(clips)):
        quarters, path = int(np.random.default_rng(i).integers(4)), folder / f"{i:06d}.mp4"
        if not path.exists():
            video = clips.video(i)
            frames = read_frames(video, np.arange(video.frames)).copy()
            frames[square] = np.rot90(frames[square], quarters, (1, 2))
            write_video(path, frames, 25.0)
        lines.append(f"{path.name},{90 * quarters},{clips.row(i)['label']},{clips.row(i)['split']}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return scan(folder / "labels.csv").manifest


def train(method: str, seed: int, material: Manifest, options: argparse.Namespace) -> Run:
    """Pre-train one method with one seed, or find it done."""
    folder, began = folder_of(method, seed, options), time.monotonic()
    fixed = [f"steps={STEPS[method]}", "threads=1", "workers=1", "health=0", f"seed={seed}"]
    recipe = load_recipe(method, "tiny", [*fixed, *options.overrides])
    run = pretrain(recipe, material, folder, resume=bool(checkpoints(folder)), quiet=True)
    print(f"{folder}: {run.step} steps, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return run


def folder_of(method: str, seed: int, options: argparse.Namespace) -> Path:
    return options.out / f"{method}{options.name}-{seed}"


def judge(method: str, clips: Manifest, material: Manifest, options: argparse.Namespace) -> None:
    """All probes of one method beside its untrained network; one line each."""
    runs = [load_run(folder_of(method, seed, options)) for seed in options.seeds]
    trained = {run.recipe.seed: run.encoder() for run in runs}
    untrained = {run.recipe.seed: run.untrained().products().encoders["video"] for run in runs}
    settings = EvaluationSettings(
        protocols=("knn", "linear"),
        extraction=Extraction(
            "uniform10" if options.data else "uniform2", batch=64, workers=1, cache=options.out / "cache"
        ),
    )
    if options.data:
        settings = replace(settings, folds="sequence", within="set")
    for label in LABELS[options.world]:
        place = options.out / f"results-{method}{options.name}-{label}"
        if not (place / "results.json").exists():
            arms = {method: trained, "untrained": untrained}
            evaluate(arms, clips, replace(settings, label=label), pretraining={method: material}).write(place)
        results = Results.read(place)
        for protocol in settings.protocols:
            print(line(results, method, protocol, label), flush=True)
    if options.world == "drift":
        for views in VIEWS:
            print(instance_line(method, views, (trained, untrained), (clips, material), options), flush=True)


def line(results: Results, method: str, protocol: str, label: str) -> str:
    """Method, fact, protocol, percent of the trained and the untrained networks, and the difference from each."""
    found = {arm: results.find(arm=arm, protocol=protocol, metric="top1", level="video") for arm in (method, *BASE)}
    pixels = {
        row.arm: row.value
        for row in results.rows
        if row.arm.startswith("pixels") and row.protocol == protocol and row.level == "video" and row.metric == "top1"
    }
    against = [one for one in results.comparisons if one.arm == method and one.protocol == protocol]
    told = [told_difference(next(one for one in against if one.against == arm)) for arm in BASE]
    best = max(pixels, key=lambda arm: pixels[arm])
    numbers = [told_seeds([row.value for row in rows]) for rows in found.values()]
    return table_row(method, label, protocol, *numbers, *told, f"{pixels[best]:.1f} ({best.removeprefix('pixels-')})")


def table_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def told_seeds(values: list[float]) -> str:
    return f"{np.mean(values):.1f} ({' '.join(f'{value:.0f}' for value in values)})"


def told_difference(found: Comparison) -> str:
    return f"{found.difference:+.1f} ({found.low:+.1f} to {found.high:+.1f}) {found.verdict}"


def instance_line(
    method: str,
    views: str,
    encoders: tuple[dict[int, Encoder], dict[int, Encoder]],
    manifests: tuple[Manifest, Manifest],
    options: argparse.Namespace,
) -> str:
    """Of all test videos, how often two augmented clips of one find each other."""
    (trained, untrained), (clips, material) = encoders, manifests
    tested = clips.select([i for i, split in enumerate(clips.column("split")) if split == "test"])
    rows = np.arange(len(material))
    twins = {seed: calibrated(encoder, material, rows) for seed, encoder in untrained.items()}
    hits: list[Judged] = []
    for name, arm in (("trained", trained), ("untrained", untrained), ("untrained-calibrated", twins)):
        place = options.out / f"instance-{views}-{method}{options.name}-{name}.npz"
        if not place.exists():
            np.savez(
                place, **{str(seed): instances(one, tested, views) for seed, one in arm.items() if one is not None}
            )
        with np.load(place) as stored:
            hits.append(Judged(name, "instance", "R@1", {(int(seed), 0): stored[seed] for seed in stored.files}))
    told = [told_difference(compare(hits[0], other, np.arange(len(tested)))) for other in hits[1:]]
    numbers = [told_seeds([float(one.mean()) for one in judged.hits.values()]) for judged in hits]
    return table_row(method, f"instance, {views} views", "R@1", *numbers, *told, "")


def instances(encoder: Encoder, clips: Manifest, views: str) -> np.ndarray:
    """100 where the second view of a clip's own video is the nearest of all second views to its first, else 0."""
    network = encoder.input
    planner = CVRL(
        **VIEWS[views],
        backbone="c3d",
        width=8,
        frames=network.frames,
        stride=network.stride,
        resize=network.resize,
        size=network.size[0],
    )
    parts = np.array_split(np.arange(len(clips)), max(1, len(clips) // 50))
    requests = [Request(Clock(0, 0, 0.0), tuple(part.tolist()), (0,) * len(part)) for part in parts]
    found: list[list[torch.Tensor]] = [[], []]
    with frozen(encoder):
        for delivery in deliver(planner, per_row(clips), requests, seed=0, workers=0, prepare=True):
            for kept, name in zip(found, ("first", "second"), strict=True):
                pixels = to_uint8(delivery.batch[name])
                kept.append(torch.nn.functional.normalize(encoder(shown(network, pixels)).pooled, dim=1))
    first, second = (torch.cat(kept) for kept in found)
    return 100.0 * ((first @ second.T).argmax(1) == torch.arange(len(first))).double().numpy()


if __name__ == "__main__":
    main()
