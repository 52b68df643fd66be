"""What an evaluation of sequences of embeddings differs in: which protocols make sense, and its attentive probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kinema.errors import RecipeError
from kinema.evaluation.arms import Arm, Encoders
from kinema.evaluation.measure import Measured
from kinema.evaluation.protocols import EpisodeProtocol, SequenceAttending, protocol
from kinema.evaluation.recorder import Recorder
from kinema.evaluation.rows import plain
from kinema.evaluation.sequence_probe import sequence_probe_scores
from kinema.evaluation.sequences import SEQUENCE, sequence_tokens, takes_sequences
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.tasks import Protocol
from kinema.modules.encoder import Encoder

VIEWS = "all segments"
"""Stands in result cards where the views of a video would."""


def suited(settings: EvaluationSettings, encoders: Encoders) -> EvaluationSettings:
    """The settings for these encoders: of sequences "attentive" is LV-MAE's probe, and nobody looks at pixels.

    Raises:
        RecipeError: encoders of two kinds, or a protocol that needs the other kind.
    """
    found = [one for given in encoders.values() for one in ([given] if isinstance(given, Encoder) else given.values())]
    sequences = takes_sequences(found)
    names = tuple("attentive:lv_mae" if sequences and name == "attentive" else name for name in settings.protocols)
    kinds = {name: protocol(name, settings.options) for name in names}
    for name, kind in kinds.items():
        if sequences and not isinstance(kind, Protocol | EpisodeProtocol | SequenceAttending):
            raise RecipeError(
                f"'{name}' needs videos; of sequences of embeddings use knn, linear, retrieval or attentive"
            )
        if not sequences and isinstance(kind, SequenceAttending):
            raise RecipeError(f"'{name}' attends to segments of long videos; this encoder takes clips: use attentive")
    if not sequences:
        return settings
    return replace(settings, protocols=names, pixels=False, calibrated=False)


def attend_sequences(
    recorder: Recorder, arms: Sequence[Arm], wanted: Sequence[SequenceAttending], options: EvaluationSettings
) -> None:
    """Train and record the attentive probes on the tokens of every arm."""
    reading = options.extraction
    for arm in arms if wanted else ():
        assert arm.encoder is not None
        tokens = sequence_tokens(arm.encoder, recorder.manifest, reading)
        for found in wanted:
            scores = sequence_probe_scores(
                tokens, recorder.split, found.preset, seed=options.seed, device=reading.device
            )
            card = {"views": VIEWS, "probe": plain(found.preset), "feature dim": tokens.values.shape[1]}
            recorder.record(arm, found.name, Measured(scores, ({},)), card, retrieves=False)


def shown_views(arm: Arm, views: str) -> str:
    """What an arm was shown of a video, for result cards."""
    if arm.encoder is None:
        return "all frames, 20 x 20, grey"
    return VIEWS if arm.encoder.input.modality == SEQUENCE else views
