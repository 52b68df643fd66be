"""`kinema embed --segments`: long videos as sequences of embeddings."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from kinema.app.progress import progress_bar
from kinema.data.manifest import Manifest
from kinema.data.opening import open_manifest
from kinema.evaluation.pretrained import PREFIX, load_pretrained
from kinema.evaluation.segments import Cutting, Source, embed_segments, network_source, pixel_source
from kinema.training.checkpoint import load_run
from kinema.training.distributed import choose_device
from kinema.training.loop import cpu_threads, default_workers

SHOWN = 5
"""So many videos that cannot be read are named on the screen."""


def segments_to_folder(
    named: str, data: Path, out: Path, cutting: Cutting, *, method: str | None = None, workers: int | None = None
) -> Manifest:
    """Embed the segments of all videos, and say what lies where.

    Args:
        named: a run folder, "hf:PATH", "pixels" or one of the pixel references.
        data: the videos.
        out: folder to write, or to go on with.
        cutting: length of segments and views.
        method: repeats package.module:Class of a method from outside.
        workers: processes that read.
    """
    device = choose_device("auto")
    run = None if named.startswith((PREFIX, "pixels")) else load_run(named, method=method)
    manifest = open_manifest(data)
    with cpu_threads(run.recipe, device) if run else nullcontext(), progress_bar(f"embedding {data} (seconds)") as tick:
        source: Source
        if run is not None:
            source = network_source(run.folder.resolve().name, run.encoder(), cutting, device=str(device))
        elif named.startswith(PREFIX):
            source = network_source(named, load_pretrained(named), cutting, device=str(device))
        else:
            source = pixel_source(named)
        reading = default_workers(device) if workers is None else workers
        made = embed_segments(source, manifest, out, cutting, workers=reading, progress=tick)
    dim, total = source.about["feature_dim"], sum(made.column("segments"))
    print(f"{out}: {len(made):,} videos, {total:,} segments of {cutting.seconds:g} s, {dim} numbers each")
    for path, reason in made.set_aside[:SHOWN]:
        print(f"set aside: {path}: {reason}")
    print(f"next: kinema pretrain lv-mae --data {out} width={dim}")
    return made
