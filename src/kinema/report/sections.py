"""The sections about the run itself: what was trained, its health, its curves, its task, its files and its recipe."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from kinema.report.charts import POINTS, Series, line_chart, number
from kinema.report.clips import Budget, picture_of
from kinema.report.markup import Content, Markup, join, table, tag
from kinema.report.record import Record, Shown, as_number
from kinema.training.display import WAIT_LIMIT, duration_in_words, wait_hint

_MARKS = {"good": "●", "warning": "▲", "bad": "✕", "none": "○"}
_WIDE = 400  # pixels; a wider picture holds detail that takes the whole width of the text
_WORDS = {"good": "good", "warning": "look here", "bad": "bad", "none": "not known"}


def section(name: str, title: str, *content: Content) -> Markup:
    """A section with an anchor `name`; missing content is the caller's to put in words."""
    heading = tag("h2", title, id=f"{name}-title")
    return tag("section", heading, *content, id=name, aria_labelledby=f"{name}-title")


def missing(text: str, command: str | None = None) -> Markup:
    """Says that something is not there, and the command that makes it."""
    return tag("p", text, *((" Run: ", tag("code", command)) if command else ()), class_="missing")


def badge(level: str) -> Markup:
    """A mark of good, warning, bad or none that is readable without colour."""
    return tag("span", f"{_MARKS.get(level, '○')} {_WORDS.get(level, level)}", class_=f"badge {level}")


def described(record: Record) -> Markup:
    """What was trained on what, in words."""
    start, done = record.start, record.steps[-1]["step"] + 1 if record.steps else 0
    method = tag("b", str(record.recipe.get("method", "an unknown method")))
    if not start:
        return tag("p", "A run of ", method, " has been prepared; training has not begun.", class_="lead")
    size = f"A network of {_count(start.get('parameters'))} parameters was trained with "
    data = f" on {_count(start.get('samples'))} clips of {_count(start.get('videos'))} videos, without any label: "
    seconds = record.steps[-1].get("seconds") if record.steps else None
    time = f", in {duration_in_words(as_number(seconds))}" if seconds is not None else ""
    length = f"{done:,} of {as_number(start.get('steps', 0)):,.0f} steps of {start.get('batch', '?')} clips{time}."
    state = "" if record.finished else " The run has not come to its end: it is going on, or was stopped."
    return tag("p", size, method, data, length, state, class_="lead")


def _count(value: object) -> str:
    """12 345 678 as "12.3 million"; "an unknown number of" where there is none."""
    found = as_number(value)
    if not math.isfinite(found):
        return "an unknown number of"
    return f"{found / 1e6:.1f} million" if found >= 1e6 else f"{found:,.0f}"


def health_section(record: Record) -> Markup:
    """Collapse, rank and kNN at the last look, and how they came there."""
    looks = record.events.get("health", [])
    if not looks:
        return section("health", "Health of the features", missing("The features have not been looked at yet."))
    last = looks[-1]
    facts = [
        ("spread", as_number(last.get("feature_std")), "standard deviation relative to an even spread, 0 to 1"),
        ("effective rank", as_number(last.get("effective_rank")), f"of {last.get('dimension', '?')} dimensions"),
        ("kNN", as_number(last.get("knn")), "percent right, leave one out, on training clips"),
    ]
    tiles = [_tile(name, value, note) for name, value, note in facts if math.isfinite(value)]
    verdict = tag("p", badge(str(last.get("level"))), " ", str(last.get("verdict", "")), class_="verdict")
    curves = [
        line_chart([record.series("health", key, name=name)], title=name, x_label="step", unit=unit)
        for key, name, unit in (
            ("feature_std", "spread", ""),
            ("effective_rank", "effective rank", ""),
            ("knn", "kNN", "%"),
        )
        if len(looks) > 1 and record.series("health", key).y
    ]
    return section("health", "Health of the features", verdict, tag("div", *tiles, class_="tiles"), _grid(curves))


def _tile(name: str, value: float, note: str) -> Markup:
    return tag("div", tag("b", number(round(value, 2))), tag("span", name), tag("small", note), class_="tile")


def _grid(figures: Sequence[Markup]) -> Markup | None:
    return tag("div", *figures, class_="grid2") if figures else None


def training_section(record: Record) -> Markup:
    """Loss, its parts, learning rate, speed and waiting over steps."""
    if not record.steps:
        return section("training", "Training", missing("No step has been logged yet."))
    losses = [record.series("step", "loss", name="training")]
    if record.events.get("validation"):
        losses.append(record.series("validation", "loss", name="held out"))
    charts = [line_chart(losses, title="loss", x_label="step")]
    own = {part.name for part in record.parts("step")}
    held_out = [part for part in record.parts("validation") if part.name not in own]
    charts += _part_charts(record.parts("step")) + _part_charts(held_out, "held out: ")
    charts += [
        line_chart([record.series("step", "lr")], title="learning rate", x_label="step", noisy=False),
        line_chart([record.series("step", "grad_norm")], title="gradient norm", x_label="step"),
        line_chart([record.series("step", "clips_per_second")], title="speed", x_label="step", unit="clips/s"),
        line_chart([_percent(record)], title="time waiting for data", x_label="step", unit="%", limits=(0, 100)),
    ]
    return section("training", "Training", _waiting(record), _grid(charts), _thinned(record), _measured(held_out))


def _measured(parts: Sequence[Series]) -> Markup | None:
    """What held-out videos alone are measured for, as it was at the last look."""
    rows = [(part.name, number(part.y[-1])) for part in parts]
    return table(["measure", "last"], rows, caption="On held-out videos", class_="narrow") if rows else None


def _part_charts(parts: Sequence[Series], prefix: str = "") -> list[Markup]:
    """Parts of the loss: those of like size together, at most six lines to a chart."""
    groups: list[list[Series]] = []
    for part in parts:
        fitting = [group for group in groups if len(group) < 6 and _alike(group[0], part)]
        if fitting:
            fitting[0].append(part)
        else:
            groups.append([part])
    return [
        line_chart(group, title=prefix + ", ".join(part.name for part in group), x_label="step") for group in groups
    ]


def _alike(first: Series, second: Series) -> bool:
    """Whether two lines can share an axis: neither is five times as high as the other, nor is just one a share."""
    sizes = [max((abs(y) for y in line.y if math.isfinite(y)), default=0.0) for line in (first, second)]
    return _is_share(first) == _is_share(second) and max(sizes) <= 5 * min(sizes)


def _is_share(line: Series) -> bool:
    return "accuracy" in line.name


def _percent(record: Record) -> Series:
    share = record.series("step", "wait_share")
    return Series("waiting", share.x, [100 * value for value in share.y])


def _waiting(record: Record) -> Markup | None:
    """Mean share of time spent waiting, with the remedy where it is much."""
    shares = [value for value in record.series("step", "wait_share").y if math.isfinite(value)]
    if not shares:
        return None
    mean = sum(shares) / len(shares)
    hint = wait_hint(mean)
    text = hint or f"The network waited for videos {mean:.0%} of the time (up to {WAIT_LIMIT:.0%} is fine)."
    return tag("p", badge("warning") if hint else None, " " if hint else None, text)


def _thinned(record: Record) -> Markup | None:
    text = "Pale: means of neighbouring steps. Strong: the same, smoothed over a twentieth of the run."
    return tag("p", text, class_="note") if len(record.steps) > POINTS else None


def pictures_section(record: Record, budget: Budget, *, redact: bool) -> Markup:
    """The pictures by which the method shows its own task, and those of what the network last made of it."""
    title = "What the network was asked"
    drawn = [*record.pictures, *record.answers]
    if redact and drawn:
        text = f"{len(drawn)} picture(s) of this section were left out of this redacted report."
        return section("pictures", title, tag("p", text, class_="missing"))
    if not drawn:
        return section("pictures", title, missing("The method has drawn no pictures of its task."))
    heading = tag("h3", "What it answers now") if record.answers else None
    asked, answered = (
        tag("div", *(_figure(shown, budget) for shown in part), class_="pictures") if part else None
        for part in (record.pictures, record.answers)
    )
    return section("pictures", title, asked, heading, answered)


def _figure(shown: Shown, budget: Budget) -> Markup:
    caption = tag("figcaption", tag("b", shown.title), " ", shown.caption)
    try:
        picture = picture_of(shown.path.read_bytes())
    except (OSError, ValueError) as error:
        return tag("figure", missing(f"{shown.path.name} cannot be shown: {error}."), caption)
    if not budget.take(picture, shown.path.name):
        return tag("figure", missing(f"{shown.path.name} was left out to keep this page small."), caption)
    wide = "wide" if picture.width > _WIDE else None
    return tag("figure", picture.markup(f"{shown.title}. {shown.caption}"), caption, class_=wide)


def quarantine_section(record: Record) -> Markup:
    """Files that could not be read, with the reason."""
    title = "Files set aside"
    if not record.quarantine:
        return section("files", title, tag("p", "Every file that training asked for could be read."))
    count = len(record.quarantine)
    text = f"{count} file{'s' if count > 1 else ''} could not be read. Training went on without them."
    rows = [(tag("span", PurePath(path).name, title=path), reason) for path, reason in record.quarantine[:200]]
    more = missing(f"The other {count - 200} are in quarantine.jsonl.") if count > 200 else None
    return section("files", title, tag("p", text), table(["file", "reason"], rows, caption="Files set aside"), more)


def recipe_section(record: Record) -> Markup:
    """The resolved recipe, and the versions that decide the numbers."""
    versions: Markup = missing("Versions are known once a checkpoint has been written.")
    if record.versions:
        versions = table(["package", "version"], record.versions.items(), caption="Versions", class_="narrow")
    recipe = tag("pre", tag("code", record.recipe_text), tabindex="0", aria_label="recipe.yaml")
    notes = [tag("li", problem) for problem in record.problems]
    unread = join(tag("h3", "What could not be read"), tag("ul", *notes)) if notes else None
    return section("recipe", "Recipe and versions", recipe, versions, unread)


def next_section(record: Record) -> Markup:
    """Commands that lead on from here."""
    run, method = shlex.quote(str(record.folder)), shlex.quote(str(record.recipe.get("method", "METHOD")))
    python = f"import kinema\nencoder = kinema.load_run({str(record.folder)!r}).encoder()"
    steps = [("Prove what the features are worth", evaluate_command(record)), ("Use the encoder in Python", python)]
    if not record.finished:
        again = f"kinema pretrain {method} --data VIDEOS --recipe {run}/recipe.yaml -o {run} --resume"
        steps.insert(0, ("Go on training", again))
    items = [tag("li", text, tag("pre", tag("code", command))) for text, command in steps]
    return section("next", "What to do next", tag("ol", *items))


def evaluate_command(record: Record) -> str:
    """What to type to learn what the features are worth."""
    return f"kinema evaluate {shlex.quote(str(record.folder))} --data LABELLED_VIDEOS"
