"""What the comparisons of an evaluation allow to be said, in one sentence, and no more than that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kinema.evaluation.rows import Comparison, Results

Outcome = Literal["beats", "loses", "unclear", "unknown"]

_SHORT = {
    ("beats", "beats"): ("good", "Useful: better than the untrained network and than every pixel reference"),
    ("beats", "unclear"): ("warning", "It has learned; whether it is better than simple pixel references stays open"),
    ("beats", "loses"): ("warning", "It has learned, but is not useful yet: simple pixel references do better"),
    ("beats", "unknown"): ("warning", "It has learned; it was not compared with pixel references"),
    ("unclear", "beats"): (
        "warning",
        "Better than pixel references, yet not distinguishable from the untrained network",
    ),
    ("unclear", "any"): ("warning", "No evidence that it has learned: not distinguishable from the untrained network"),
    ("loses", "any"): ("bad", "Worse than the untrained network"),
    ("unknown", "any"): ("none", "Not compared with the untrained network, so nothing can be claimed"),
}


@dataclass(frozen=True)
class Finding:
    """What one protocol shows about the trained network.

    Attributes:
        protocol, metric: as in the result rows.
        untrained: the outcome against every untrained reference taken together.
        pixels: the same against the pixel references.
        sentence: both with their numbers.
    """

    protocol: str
    metric: str
    untrained: Outcome
    pixels: Outcome
    sentence: str

    @property
    def level(self) -> str:
        """One of "good", "warning", "bad" and "none"."""
        return self._short[0]

    @property
    def headline(self) -> str:
        """The finding without its numbers."""
        return self._short[1]

    @property
    def _short(self) -> tuple[str, str]:
        return _SHORT.get((self.untrained, self.pixels)) or _SHORT[(self.untrained, "any")]


def findings(results: Results, *, arm: str = "trained") -> list[Finding]:
    """One finding per protocol and metric, in the order of the comparisons."""
    own = [comparison for comparison in results.comparisons if comparison.arm == arm]
    keys = dict.fromkeys((comparison.protocol, comparison.metric) for comparison in own)
    return [_finding(results, [c for c in own if (c.protocol, c.metric) == key]) for key in keys]


def outcome(comparisons: Sequence[Comparison]) -> Outcome:
    """All together: "beats" only when each is beaten, "loses" as soon as one is lost to.

    The verdict of each decides; a comparison over too few groups decides nothing.
    """
    single = [_single(comparison) for comparison in comparisons]
    if not single:
        return "unknown"
    if "loses" in single:
        return "loses"
    return "beats" if set(single) == {"beats"} else "unclear"


def _single(comparison: Comparison) -> Outcome:
    if comparison.verdict in ("beats", "useful"):
        return "beats"
    return "loses" if comparison.verdict == "loses" else "unclear"


def _finding(results: Results, comparisons: Sequence[Comparison]) -> Finding:
    first = comparisons[0]
    untrained = [c for c in comparisons if c.against.startswith("untrained")]
    pixels = [c for c in comparisons if c.against.startswith("pixels")]
    value = mean_value(results, first.arm, first.protocol, first.metric)
    reached = "" if value is None else f" {value:.1f} %"
    clauses = [_clause(group) for group in (untrained, pixels) if group]
    sentence = f"{first.protocol}, {first.metric}:{reached}; {'; '.join(clauses)}." if clauses else ""
    return Finding(first.protocol, first.metric, outcome(untrained), outcome(pixels), sentence)


def _clause(comparisons: Sequence[Comparison]) -> str:
    """The hardest of the references: the one that leaves the smallest difference."""
    hardest = min(comparisons, key=lambda c: c.difference)
    words = f"{signed(hardest.difference)} points against {hardest.against}"
    return f"{words} (95 % interval {signed(hardest.low)} to {signed(hardest.high)}): {hardest.verdict}"


def mean_value(results: Results, arm: str, protocol: str, metric: str) -> float | None:
    """Mean over seeds, of whole videos where they were scored, else of clips; None where there is no such row."""
    for level in ("video", "clip"):
        rows = results.find(arm=arm, protocol=protocol, metric=metric, level=level)
        if rows:
            return sum(row.value for row in rows) / len(rows)
    return None


def signed(value: float) -> str:
    """A difference with a true minus sign: "+12.3", "−4.0"."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
