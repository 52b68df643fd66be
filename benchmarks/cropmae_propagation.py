"""Claim: CropMAE and SiamMAE learn features that can be matched from frame to frame, on small real videos alone.

Run `python benchmarks/cropmae_propagation.py [--data DIR] [options] [key=value …]`. DIR (or the environment variable
KINEMA_DATA) holds `ut_interaction`, `ucf101_bits` and `davis2016_subset`. Recipe `tiny` of both methods is trained for
`--steps` steps of as many pairs on the videos of the first two. Masks of first frames are then carried through the
DAVIS sequences, which no training saw, by preset "davis" at a third of its size: in frames of 160 x 288 things are as
large as in training, on a grid of 20 x 36; `--resize 240x440` has the published grid of 30 x 55, for five times the
work.

Beside the trained encoders stand the same network untrained, pixels as features, and the first mask as it is.
Differences are paired over sequences and seeds. `--variants` adds ablations of the mask ratio and of the views.
Finished runs are used again, broken-off ones go on; `--only pretrain` stops before the evaluation. On a machine that
others use, OMP_NUM_THREADS=1 is several times faster.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from kinema import Manifest, load_recipe, pretrain, scan
from kinema.evaluation import EvaluationSettings, Extraction, as_markdown, evaluate
from kinema.modules.encoder import Encoder
from kinema.training.checkpoint import Run, checkpoints, load_run

VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cropmae": ("cropmae", ()),
    "siammae": ("siammae", ()),
    "cropmae-mask75": ("cropmae", ("mask=0.75",)),
    "cropmae-mask90": ("cropmae", ("mask=0.9",)),
    "cropmae-mask95": ("cropmae", ("mask=0.95",)),
    "cropmae-same": ("cropmae", ("views=same",)),
    "cropmae-random": ("cropmae", ("views=random",)),
    "cropmae-local-to-global": ("cropmae", ("views=local-to-global",)),
    "siammae-mask75": ("siammae", ("mask=0.75",)),
    "siammae-mask985": ("siammae", ("mask=0.985",)),
}
MATERIAL = ("ut_interaction", "ucf101_bits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("KINEMA_DATA"))
    parser.add_argument("--out", type=Path, default=Path("runs/cropmae_propagation"))
    parser.add_argument("--variants", nargs="+", default=["cropmae", "siammae"], choices=[*VARIANTS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--resize", default="160x288", help="of the DAVIS frames")
    parser.add_argument("--sequences", type=int, help="only the first so many")
    parser.add_argument("--only", choices=("pretrain",))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    if options.data is None:
        parser.error("say where the videos are: --data DIR, or set KINEMA_DATA")
    material = gathered(options.data)
    runs = {name: [train(name, seed, material, options) for seed in options.seeds] for name in options.variants}
    if options.only is None:
        judge(runs, material, options)


def gathered(data: Path) -> Manifest:
    """The videos to train on, in one manifest without labels."""
    manifests = [scan(Path(data) / name, layout="folders", labels="none").manifest for name in MATERIAL]
    rows = [
        {**manifest.row(row), "path": str(manifest.path(row).resolve())}
        for manifest in manifests
        for row in range(len(manifest))
    ]
    return Manifest.from_rows(rows, Path(data).resolve())


def train(name: str, seed: int, material: Manifest, options: argparse.Namespace) -> Run:
    """Pre-train one variant with one seed, or find it done."""
    method, changes = VARIANTS[name]
    folder, began = options.out / f"{name}-{seed}", time.monotonic()
    recipe = load_recipe(
        method, "tiny", [f"steps={options.steps}", "health=0", *changes, *options.overrides, f"seed={seed}"]
    )
    run = pretrain(recipe, material, folder, resume=bool(checkpoints(folder)), quiet=True)
    print(f"{folder}: {run.step} steps, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return run


def judge(runs: dict[str, list[Run]], material: Manifest, options: argparse.Namespace) -> None:
    """All variants beside one untrained network: both methods and all variants have the same encoder."""
    arms: dict[str, dict[int, Encoder]] = {
        name: {run.recipe.seed: load_run(run.folder).encoder() for run in found} for name, found in runs.items()
    }
    first = next(iter(runs.values()))
    arms["untrained"] = {run.recipe.seed: run.untrained().products().encoders["image"].eval() for run in first}
    davis = scan(Path(options.data) / "davis2016_subset", layout="davis2016").manifest
    if options.sequences:
        davis = davis.select(range(options.sequences))
    settings = EvaluationSettings(
        protocols=("propagation:davis",),
        calibrated=False,
        options={"propagation": {"resize": options.resize}},
        extraction=Extraction(workers=1),
    )
    began = time.monotonic()
    results = evaluate(arms, davis, settings, pretraining=dict.fromkeys(runs, material))
    results.write(options.out / "results")
    print(f"evaluated in {(time.monotonic() - began) / 60:.1f} minutes\n\n{as_markdown(results)}")


if __name__ == "__main__":
    main()
