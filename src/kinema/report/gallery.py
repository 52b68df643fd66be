"""Nearest neighbours that a person can watch: a query, and the videos whose features are most like it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.errors import KinemaError
from kinema.evaluation.rows import Array, Results
from kinema.metrics.retrieval import similarities
from kinema.report.clips import Budget, Picture, row_clip
from kinema.report.markup import Markup, join, tag
from kinema.report.record import Evaluation, Record
from kinema.report.sections import evaluate_command, missing, section

QUERIES, NEIGHBOURS = 8, 5
_BOUND = re.compile(r"\d+(\.\d+)?")
_TITLE = "Nearest neighbours"


@dataclass(frozen=True)
class Videos:
    """What is known of the videos of an evaluation; entries of all fields belong together.

    Attributes:
        ids: paths as in the manifest.
        features: float32 [N, D].
        labels: class names, empty where there are none.
        groups: videos of one group are no fair neighbours of each other.
    """

    ids: list[str]
    features: npt.NDArray[np.float32]
    labels: list[str]
    groups: list[str]


def gallery_section(record: Record, budget: Budget, *, redact: bool) -> Markup:
    """Eight queries of the first evaluation that stored features, each with its five nearest neighbours."""
    if not record.evaluations:
        return section(
            "gallery",
            _TITLE,
            missing("Not evaluated yet, so there are no features to compare.", evaluate_command(record)),
        )
    for evaluation in record.evaluations:
        videos = stored_videos(evaluation.results)
        if videos is not None:
            return section("gallery", _TITLE, _gallery(evaluation, videos, None if redact else budget))
    return section("gallery", _TITLE, missing("The evaluation stored no features, so there is nothing to compare."))


def stored_videos(results: Results) -> Videos | None:
    """The videos of an evaluation; None when it kept no features or fewer than two videos."""
    kept = results.predictions
    if not {"features", "ids"} <= kept.keys() or len(kept["ids"]) < 2:
        return None
    ids = [str(name) for name in kept["ids"]]
    labels = _names(kept) if {"labels", "classes"} <= kept.keys() else [""] * len(ids)
    groups = [str(name) for name in kept["groups"]] if "groups" in kept else ids
    return Videos(ids, kept["features"].astype(np.float32), labels, groups)


def _names(kept: dict[str, Array]) -> list[str]:
    classes = [str(name) for name in kept["classes"]]
    return [classes[number] for number in kept["labels"].astype(np.int64)]


def choose_queries(videos: Videos, count: int = QUERIES) -> list[int]:
    """Evenly spaced over the videos in order of class, so that nothing is chosen by how well it does."""
    order = sorted(range(len(videos.ids)), key=lambda i: (videos.labels[i], videos.ids[i]))
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [order[place] for place in places]


def nearest(videos: Videos, query: int, count: int = NEIGHBOURS) -> list[tuple[int, float]]:
    """Most similar videos of other groups (cosine), best first; equal similarities in the order of the list."""
    (row,) = similarities(videos.features[query : query + 1], videos.features)
    values = row[0].numpy()
    fair = [i for i, group in enumerate(videos.groups) if group != videos.groups[query]]
    best = sorted(fair, key=lambda i: -values[i])[:count]
    return [(i, float(values[i])) for i in best]


def _gallery(evaluation: Evaluation, videos: Videos, budget: Budget | None) -> Markup:
    clips = _Clips(evaluation, budget)
    rows = [_query(videos, query, clips) for query in choose_queries(videos)]
    text = (
        f"Left a video of “{evaluation.name}”, right the {NEIGHBOURS} videos with the most similar features, each with "
        "its cosine similarity; videos of the query's own group are left out. The queries are evenly spaced over all "
        "videos in order of class, not chosen by how well they do."
    )
    note = missing("This redacted report leaves the clips out.") if budget is None else clips.complaint()
    return join(tag("p", text), note, tag("div", *rows, class_="gallery"))


def _query(videos: Videos, query: int, clips: _Clips) -> Markup:
    wanted = videos.labels[query]
    own = tag("figure", clips.show(videos.ids[query]), _caption(videos, query, tag("b", wanted or "query")))
    found = nearest(videos, query)
    others = [tag("li", tag("figure", clips.show(videos.ids[i]), _neighbour(videos, i, s, wanted))) for i, s in found]
    return tag("div", own, tag("ol", *others), class_="query")


def _neighbour(videos: Videos, i: int, similarity: float, wanted: str) -> Markup:
    likeness = tag("small", f" {similarity:.2f}")
    if not wanted:
        return _caption(videos, i, likeness)
    right = videos.labels[i] == wanted
    mark = tag(
        "span", "✓ " if right else "✗ ", class_="right" if right else "wrong", title="right" if right else "wrong"
    )
    return _caption(videos, i, mark, videos.labels[i], likeness)


def _caption(videos: Videos, i: int, *content: Markup | str) -> Markup:
    return tag("figcaption", *content, title=videos.ids[i])


class _Clips:
    """Encoded clips by video, made once each while the budget lasts; without a budget only words."""

    def __init__(self, evaluation: Evaluation, budget: Budget | None) -> None:
        self._budget = budget
        self._made: dict[str, Picture | str] = {}
        self._root, self._problem = _video_folder(evaluation) if budget else (None, "")

    def show(self, name: str) -> Markup | None:
        """The clip of a video, or an empty place with the reason; nothing in a redacted report."""
        if self._budget is None or self._root is None:
            return None
        if name not in self._made:
            self._made[name] = self._encode(self._root, name)
        made = self._made[name]
        if isinstance(made, str):
            return tag("div", class_="blank", role="img", aria_label=made, title=made)
        if not self._budget.take(made, name):
            return tag(
                "div", class_="blank", role="img", aria_label="left out", title="left out to keep the page small"
            )
        return made.markup(f"clip of {PurePath(name).name}")

    def _encode(self, root: Path, name: str) -> Picture | str:
        try:
            return row_clip(Manifest.from_rows([video_row(root, name)], root), 0)
        except KinemaError as error:
            return str(error)

    def complaint(self) -> Markup | None:
        """Why there are no clips at all."""
        return missing(self._problem) if self._problem else None


def video_row(root: Path, name: str) -> dict[str, str | float]:
    """The manifest row of a stored name: a path below `root`, for a segment followed by its bounds in seconds."""
    path, *bounds = name.rsplit(" ", 2)
    if len(bounds) == 2 and not (root / name).exists() and all(_BOUND.fullmatch(bound) for bound in bounds):
        return {"path": path, "start": float(bounds[0]), "end": float(bounds[1])}
    return {"path": name}


def _video_folder(evaluation: Evaluation) -> tuple[Path | None, str]:
    """The folder that the names of the evaluated videos start from, or why they cannot be shown."""
    root = evaluation.results.info.get("root")
    if not isinstance(root, str):
        return None, "The evaluation does not say where its videos lie, so no clips can be shown."
    if not Path(root).is_dir():
        return None, f"No clips can be shown: the videos lay in {root}, which is not there any more."
    return Path(root), ""
