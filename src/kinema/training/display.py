"""What a person sees while a network trains: a live panel on a terminal, a plain line every few seconds in a pipe."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

WAIT_LIMIT = 0.3
"""Share of time waiting for data above which a hint is shown."""

_SMOOTHING = 0.9
_STYLES = {"good": "green", "warning": "yellow", "bad": "bold red"}


def duration_in_words(seconds: float) -> str:
    """Seconds to a short phrase: "45 s", "12 min", "3 h 20 min", "2 d 4 h"; "unknown" when not finite."""
    if not math.isfinite(seconds):
        return "unknown"
    if round(seconds) < 60:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def wait_hint(share: float) -> str | None:
    """What to do when the network waits for data during more than `WAIT_LIMIT` of the time; None below it."""
    if not share > WAIT_LIMIT:
        return None
    return (
        f"The network waits for videos {share:.0%} of the time: raise workers=, or keep the videos at a smaller size."
    )


@dataclass
class Progress:
    """What is known about a run, from the records of its `metrics.jsonl` in the order they were written.

    `step` counts the steps that are done; a record numbers them from 0.
    """

    method: str = ""
    steps: int = 0
    step: int = 0
    epoch: int = 0
    loss: float = math.nan
    parts: dict[str, float] = field(default_factory=dict)
    lr: float = math.nan
    clips_per_second: float = math.nan
    wait_share: float = math.nan
    seconds_per_step: float = math.nan
    health: str = ""
    level: str = "good"
    validation: float = math.nan
    quarantined: int = 0
    _seconds: float = math.nan

    @property
    def seconds_left(self) -> float:
        """Steps left × smoothed seconds per step; nan until two steps are known."""
        return max(self.steps - self.step, 0) * self.seconds_per_step

    def update(self, record: Mapping[str, Any]) -> None:
        """Take in one record; an event that is not known changes nothing."""
        event = record.get("event")
        if event == "start":
            self.method, self.steps = str(record.get("method", "")), int(record.get("steps", 0))
        elif event == "step":
            self._take_step(record)
        elif event == "health":
            self.health, self.level = str(record["verdict"]), str(record["level"])
        elif event == "validation":
            self.validation = float(record["loss"])
        elif event == "quarantine":
            self.quarantined += 1

    def _take_step(self, record: Mapping[str, Any]) -> None:
        step, seconds = int(record["step"]) + 1, float(record.get("seconds", math.nan))
        if step > self.step:
            pace = (seconds - self._seconds) / (step - self.step)
            self.seconds_per_step = _smooth(self.seconds_per_step, pace)
        self.step, self._seconds = step, seconds
        self.epoch, self.loss = int(record.get("epoch", 0)), float(record["loss"])
        self.parts = {name: float(value) for name, value in record.get("parts", {}).items()}
        self.lr = float(record.get("lr", math.nan))
        self.clips_per_second = _smooth(self.clips_per_second, float(record.get("clips_per_second", math.nan)))
        self.wait_share = _smooth(self.wait_share, float(record.get("wait_share", math.nan)))


def _smooth(old: float, new: float) -> float:
    """Exponential average that starts at the first finite value and skips what is not finite."""
    if not math.isfinite(new):
        return old
    return new if not math.isfinite(old) else _SMOOTHING * old + (1 - _SMOOTHING) * new


def plain_line(progress: Progress) -> str:
    """One line for a log file: step, epoch, loss and its parts, speed, waiting, learning rate, time left."""
    fields = [_place(progress), f"loss {_loss(progress)}", _speed(progress), f"lr {progress.lr:.3g}"]
    if math.isfinite(progress.seconds_left):
        fields.append(f"{duration_in_words(progress.seconds_left)} left")
    if progress.quarantined:
        fields.append(f"{progress.quarantined} file(s) set aside")
    return " · ".join(fields)


def _place(progress: Progress) -> str:
    total = f"/{progress.steps:,}" if progress.steps else ""
    return f"step {progress.step:,}{total} · epoch {progress.epoch}"


def _loss(progress: Progress) -> str:
    parts = ", ".join(f"{name} {value:.4g}" for name, value in progress.parts.items())
    return f"{progress.loss:.4g}" + (f" ({parts})" if parts else "")


def _speed(progress: Progress) -> str:
    return f"{progress.clips_per_second:.1f} clips/s, {progress.wait_share:.0%} of the time waiting for data"


def panel(progress: Progress) -> RenderableType:
    """The live view: a bar and a small table; rich's markup inside file names and messages has no effect."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1), expand=True)
    head.add_column(no_wrap=True)
    head.add_column(ratio=1)
    head.add_column(no_wrap=True, justify="right")
    left = f" · {duration_in_words(progress.seconds_left)} left" if math.isfinite(progress.seconds_left) else ""
    bar = ProgressBar(total=max(progress.steps, 1), completed=progress.step)
    head.add_row(Text(progress.method or "training", "bold"), bar, Text(_place(progress) + left))
    facts = Table.grid(padding=(0, 2))
    for name, value, style in _facts(progress):
        facts.add_row(Text(name, "dim"), Text(value, style))
    return Group(head, facts)


def _facts(progress: Progress) -> list[tuple[str, str, str]]:
    """Rows of the panel: name, value, style."""
    hint = wait_hint(progress.wait_share)
    rows = [
        ("loss", _loss(progress), ""),
        ("speed", _speed(progress), "yellow" if hint else ""),
        ("", hint or "", "yellow"),
        ("lr", f"{progress.lr:.3g}", ""),
        ("validation", f"{progress.validation:.4g}" if math.isfinite(progress.validation) else "", ""),
        ("health", progress.health, _STYLES.get(progress.level, "")),
        ("set aside", f"{progress.quarantined} unreadable file(s)" if progress.quarantined else "", "yellow"),
    ]
    return [row for row in rows if row[1]]


class Display:
    """Context manager that shows a run as it goes.

    On a terminal a panel is redrawn in place. Anywhere else (a pipe, a log file, TERM=dumb) the first step and then one
    every `interval` seconds become a plain line, and warnings about health and files a line each.

    Args:
        stream: where to write; standard output by default.
        interval: seconds between two plain lines.
        clock: seconds that only grow; tests hand in their own.
    """

    def __init__(
        self, *, stream: TextIO | None = None, interval: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.progress = Progress()
        self._interval, self._clock = interval, clock
        self._printed_at, self._printed_step = -math.inf, 0
        self._hinted = False
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self.stream.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self.stream, force_terminal=True)
            self._live = Live(panel(self.progress), console=console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(panel(self.progress), refresh=True)
            self._live.stop()
            self._live = None
        elif self.progress.step > self._printed_step:
            self._print(plain_line(self.progress))

    def step(self, record: Mapping[str, Any]) -> None:
        """Show one record of `metrics.jsonl`, of whatever event: steps, health, validation, quarantine …"""
        self.progress.update(record)
        if record.get("event") == "start" and record.get("short"):
            self.message(f"left out: {record['short']:,} videos or windows, too short for this method")
        if self._live is not None:
            self._live.update(panel(self.progress))
        else:
            self._step_plain(record)

    def message(self, text: str) -> None:
        """Print one line that stays, above the panel where there is one. Control characters are dropped."""
        line = "".join(character for character in text if character.isprintable() or character == "\n")
        if self._live is not None:
            from rich.text import Text

            self._live.console.print(Text(line))
        else:
            self._print(line)

    def _step_plain(self, record: Mapping[str, Any]) -> None:
        event = record.get("event")
        if event == "health" and record["level"] != "good":
            self.message(f"health: {record['verdict']}")
        elif event == "quarantine":
            self.message(f"set aside: {record['path']}: {record['reason']}")
        elif event == "skipped":
            self.message(f"step {record['step'] + 1:,} left out: {record['reason']}")
        elif event == "step" and self._clock() - self._printed_at >= self._interval:
            self._printed_at, self._printed_step = self._clock(), self.progress.step
            self._print(plain_line(self.progress))
            self._hint()

    def _hint(self) -> None:
        """Say once, not on every line, that loading is the bottleneck."""
        hint = wait_hint(self.progress.wait_share)
        if hint and not self._hinted:
            self._print(hint)
        self._hinted = hint is not None

    def _print(self, line: str) -> None:
        print(line, file=self.stream, flush=True)
