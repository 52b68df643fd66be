"""`kinema synth`: render a synthetic world and say what to do with it."""

from __future__ import annotations

from pathlib import Path

from kinema.app.progress import progress_bar
from kinema.data.synthetic import render_world


def render_to_screen(out: Path, *, clips: int, seed: int = 0, workers: int | None = None) -> Path:
    """Render `clips` videos into `out`; returns the path of labels.csv."""
    with progress_bar(f"rendering {out}") as tick:
        labels = render_world(out, clips=clips, seed=seed, workers=workers, progress=tick)
    print(f"{clips:,} videos and {labels}\nnext: kinema scan {labels} -o {out.with_suffix('.parquet')}")
    return labels
