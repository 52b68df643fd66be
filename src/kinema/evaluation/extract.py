"""Features of every view of every row: decoded once for all encoders, views, taps and protocols, cached by content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kinema.data.manifest import Manifest
from kinema.evaluation.features import Extraction, FeatureTable, Progress, Taken
from kinema.evaluation.reading import Reader, refuse
from kinema.evaluation.taking import Taking, encoder_digest, frozen
from kinema.modules.encoder import Encoder

__all__ = ["Extraction", "FeatureTable", "Progress", "Taken", "encoder_digest", "extract", "extract_all", "frozen"]


def extract(
    encoders: Mapping[str, Encoder],
    manifest: Manifest,
    options: Extraction | None = None,
    *,
    progress: Progress | None = None,
) -> dict[str, FeatureTable]:
    """Features of all rows under each encoder; see `extract_all`."""
    return extract_all(encoders, manifest, [options or Extraction()], progress=progress).plans[0]


def extract_all(
    encoders: Mapping[str, Encoder],
    manifest: Manifest,
    plans: Sequence[Extraction],
    *,
    direct: Mapping[str, Reader] | None = None,
    progress: Progress | None = None,
) -> Taken:
    """Features of all rows, under each encoder, as every plan wants them; each video is decoded once for all of them.

    Encoders run in evaluation mode without gradients; their mode, parameters and buffers are left as they were. What
    the cache holds already is not taken again; a video of which it holds everything is not opened.

    Args:
        encoders: by name.
        manifest: the videos.
        plans: they may differ in views, taps and every_view; of the rest those of the first one count.
        direct: by name (which must change when they do), readers whose arrays [views, D] are features already.
        progress: called with (rows done, rows) while decoding.

    Raises:
        DataError: files cannot be read and `skip_broken` is not set, or features are not finite.
        RecipeError: an encoder has no such tap or takes no video.
    """
    taking = Taking(encoders, manifest, plans, direct or {})
    taking.run(progress)
    taken = taking.tables()
    if not plans[0].skip_broken:
        refuse(list(taking.skipped.values()), len(manifest))
    return taken
