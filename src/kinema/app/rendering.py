"""`kinema synth`: render a synthetic world and say what to do with it."""

from __future__ import annotations

from pathlib import Path

from kinema.app.progress import progress_bar
from kinema.data.synthetic import World, render_world

CALM = World(camera=0.0, distractors=0, clutter=0.1, classes=("translate", "orbit", "rotate", "pulse"))
"""Four motions over quiet backgrounds: what a tiny network can begin to tell within minutes."""


def render_to_screen(
    out: Path, *, clips: int, seed: int = 0, world: World | None = None, workers: int | None = None
) -> Path:
    """Render `clips` videos of a world into `out`; returns the path of labels.csv."""
    with progress_bar(f"rendering {out}") as tick:
        labels = render_world(out, clips=clips, seed=seed, world=world, workers=workers, progress=tick)
    print(f"{clips:,} videos and {labels}")
    return labels
