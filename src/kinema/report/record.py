"""What a run folder holds, read leniently: a report of a half-finished run says what is missing, it does not fail."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kinema.errors import DataError, KinemaError
from kinema.evaluation.rows import Results
from kinema.report.charts import Series
from kinema.training.checkpoint import checkpoints
from kinema.training.files import read_json
from kinema.training.journal import read_journal

Event = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """One of the pictures that the method drew of its own task, or of its answers."""

    title: str
    caption: str
    path: Path


@dataclass(frozen=True)
class Evaluation:
    """One folder below `evaluation/`."""

    name: str
    folder: Path
    results: Results


@dataclass(frozen=True)
class Record:
    """A run folder.

    Attributes:
        folder: its path.
        recipe: the resolved recipe as a tree, `recipe_text` as it stands in the file.
        events: those of metrics.jsonl by kind, in order.
        pictures: of the method's task, those listed in pictures.json.
        answers: of what the network last made of it, those listed in answers.json.
        evaluations: by name.
        quarantine: (path, reason) of files that could not be read.
        versions: of kinema and its libraries, from the newest checkpoint.
        checkpoint: name of the newest checkpoint.
        problems: what lies in the folder and could not be read.
    """

    folder: Path
    recipe: dict[str, Any]
    recipe_text: str
    events: dict[str, list[Event]]
    pictures: list[Shown]
    evaluations: list[Evaluation]
    quarantine: list[tuple[str, str]]
    versions: dict[str, str] = field(default_factory=dict)
    checkpoint: str = ""
    problems: list[str] = field(default_factory=list)
    answers: list[Shown] = field(default_factory=list)

    @property
    def start(self) -> Event:
        """The newest start event; empty before training."""
        return self.events.get("start", [{}])[-1]

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return bool(self.events.get("end"))

    @property
    def steps(self) -> list[Event]:
        """The step events, one per step: after a resume the repeated steps count once, as done last."""
        return [event for _, event in sorted({int(event["step"]): event for event in self.events["step"]}.items())]

    def series(self, event: str, key: str, *, name: str = "") -> Series:
        """One number of the events of a kind, over steps; events without it are passed over."""
        events = self.steps if event == "step" else self.events.get(event, [])
        found = [(float(e["step"]), as_number(e.get(key))) for e in events if e.get(key) is not None]
        return Series(name or key, [x for x, _ in found], [y for _, y in found])

    def parts(self, event: str) -> list[Series]:
        """One line per part of the loss."""
        events = self.steps if event == "step" else self.events.get(event, [])
        names = list(dict.fromkeys(name for e in events for name in e.get("parts", {})))
        return [_part(name, [e for e in events if name in e.get("parts", {})]) for name in names]


def _part(name: str, events: Sequence[Event]) -> Series:
    return Series(name, [float(e["step"]) for e in events], [as_number(e["parts"][name]) for e in events])


def as_number(value: object) -> float:
    """A float; nan for what is none."""
    return float(value) if isinstance(value, int | float) else math.nan


def read_record(folder: Path) -> Record:
    """Read a run folder.

    Raises:
        DataError: there is no recipe.yaml, so it is no run folder.
    """
    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        raise DataError(f"{folder} is no run folder: it holds no recipe.yaml. Train one with: kinema pretrain")
    problems: list[str] = []
    text = recipe.read_text(encoding="utf-8", errors="replace")
    saved = checkpoints(folder)
    newest = saved[-1] if saved else None
    state = _json(newest / "state.json", problems) if newest else {}
    return Record(
        folder=folder,
        recipe=_yaml(text, problems),
        recipe_text=text,
        events=_events(folder / "metrics.jsonl", problems),
        pictures=_pictures(folder, "pictures", problems),
        answers=_pictures(folder, "answers", problems),
        evaluations=_evaluations(folder / "evaluation", problems),
        quarantine=_quarantine(folder),
        versions={str(name): str(value) for name, value in dict(state.get("versions", {})).items()},
        checkpoint=newest.name if newest else "",
        problems=problems,
    )


def _yaml(text: str, problems: list[str]) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problems.append(f"recipe.yaml is no YAML: {error}")
        return {}
    return tree if isinstance(tree, dict) else {}


def _json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return read_json(path)
    except KinemaError as error:
        problems.append(str(error))
        return {}


def _events(path: Path, problems: list[str]) -> dict[str, list[Event]]:
    """The events by kind; lines that are no event are counted among the problems."""
    found: dict[str, list[Event]] = {"step": []}
    events = [event for event in read_journal(path) if _is_event(event)]
    for event in events:
        found.setdefault(str(event["event"]), []).append(event)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    if damaged := len(lines) - len(events):
        problems.append(f"{damaged} line{'s' * (damaged > 1)} of {path.name} cannot be read and were passed over")
    return found


def _is_event(event: object) -> bool:
    """Whether a line says what happened, and for the drawn kinds at which step."""
    if not isinstance(event, dict) or "event" not in event:
        return False
    drawn = event["event"] in ("step", "health", "validation")
    parts = event.get("parts") or {}
    return not drawn or (math.isfinite(as_number(event.get("step"))) and isinstance(parts, dict))


def _quarantine(folder: Path) -> list[tuple[str, str]]:
    """Each file once, in the order of trouble."""
    events = read_journal(folder / "quarantine.jsonl")
    return list({str(e.get("path")): str(e.get("reason", "no reason was written")) for e in events}.items())


def _pictures(folder: Path, kind: str, problems: list[str]) -> list[Shown]:
    """The listed pictures; a name that would lead out of the folder is refused."""
    listing = folder / f"{kind}.json"
    if not listing.is_file():
        return []
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
        names = [Path(str(entry["file"])) for entry in entries]
    except (ValueError, TypeError, KeyError) as error:
        problems.append(f"{kind}.json cannot be read: {error!r}")
        return []
    shown = []
    for entry, name in zip(entries, names, strict=True):
        path = folder / kind / name.name
        if name.parts not in ((name.name,), (kind, name.name)) or not path.is_file():
            problems.append(f"the picture {name} is listed but does not lie in the folder {kind}")
            continue
        shown.append(Shown(str(entry.get("title", name.stem)), str(entry.get("caption", "")), path))
    return shown


def _evaluations(folder: Path, problems: list[str]) -> list[Evaluation]:
    found = []
    for path in sorted(folder.glob("*/results.json")):
        try:
            found.append(Evaluation(path.parent.name, path.parent, Results.read(path.parent)))
        except (KinemaError, ValueError, KeyError, TypeError) as error:
            problems.append(f"the evaluation '{path.parent.name}' cannot be read: {error}")
    return found
