"""Few-shot episodes: N classes, K examples of each, and the nearest class mean answers for the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.errors import DataError, RecipeError
from kinema.randomness import numpy_generator

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Episodes:
    """What an episode is made of; all of it is drawn from the test videos [design].

    Attributes:
        ways: classes.
        shots: support videos of each class.
        queries: further videos of each class, where it has so many.
        count: episodes.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    count: int = 600

    def __post_init__(self) -> None:
        if self.ways < 2 or min(self.shots, self.queries) < 1 or self.count < 2:
            raise RecipeError(
                f"{self}: an episode needs 2 ways, 1 shot and 1 query or more, and there must be 2 or more"
            )


class Accuracy(NamedTuple):
    """Percent right in each episode, float64 [count]."""

    episodes: npt.NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean over episodes."""
        return float(self.episodes.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean: mean +- 1.96 s / sqrt(count), cut at 0 and 100."""
        half = 1.96 * float(self.episodes.std(ddof=1)) / len(self.episodes) ** 0.5
        return max(0.0, self.mean - half), min(100.0, self.mean + half)


def parse_episodes(name: str) -> Episodes | None:
    """Of "episodes" (5 ways, 1 shot) or "episodes:NxK"; None where `name` is something else."""
    found = re.fullmatch(r"episodes(?::(\d+)x(\d+))?", name)
    if found is None:
        return None
    return Episodes() if found[1] is None else Episodes(int(found[1]), int(found[2]))


def run_episodes(features: npt.NDArray[np.float32], labels: IntArray, episodes: Episodes, *, seed: int) -> Accuracy:
    """Cosine similarity to the mean of the L2-normalised support of each class.

    Which videos meet in an episode depends on labels and `seed` alone: all encoders are asked the same.

    Args:
        features: [N, D], one vector per video.
        labels: [N].
        episodes: their make-up; fewer ways where fewer classes have shots + 1 videos.
        seed: key of the draws.

    Raises:
        DataError: fewer than two classes have shots + 1 videos.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    usable = classes[sizes > episodes.shots]
    if len(usable) < 2:
        raise DataError(
            f"episodes of {episodes.shots} shots need two classes with {episodes.shots + 1} test videos or more; "
            f"{len(usable)} have them: ask for fewer shots (episodes:NxK)"
        )
    members = {int(number): np.flatnonzero(labels == number) for number in usable}
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    found = [_episode(unit, members, episodes, seed, number) for number in range(episodes.count)]
    return Accuracy(np.array(found))


def _episode(
    unit: npt.NDArray[np.float32], members: dict[int, IntArray], episodes: Episodes, seed: int, number: int
) -> float:
    rng = numpy_generator("episode", seed, number)
    chosen = rng.choice(list(members), min(episodes.ways, len(members)), replace=False)
    drawn = [rng.permutation(members[int(c)])[: episodes.shots + episodes.queries] for c in chosen]
    means = np.stack([unit[rows[: episodes.shots]].mean(0) for rows in drawn])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    right = [(unit[rows[episodes.shots :]] @ means.T).argmax(1) == way for way, rows in enumerate(drawn)]
    return 100.0 * float(np.concatenate(right).mean())
