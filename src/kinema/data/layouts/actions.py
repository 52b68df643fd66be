"""Action recognition sets: UCF101, HMDB51, Kinetics, Something-Something V2, Diving48."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from kinema.data.layouts.listing import Columns, Layout, Listing, Source, listing, official_split, read_text
from kinema.data.layouts.plain import SPLITS
from kinema.errors import DataError

_Listed = Iterator[tuple[str, str, Columns]]

_HMDB_PARTS = {"1": "train", "2": "test", "0": "unused"}
_KINETICS_HEAD = {"youtube_id", "time_start", "time_end"}
_BRACKETS = str.maketrans("", "", "[]")


def _find_ucf101(source: Source) -> list[str]:
    return source.notes.match("trainlist0[1-3].txt", "testlist0[1-3].txt")


def _read_ucf101(source: Source, notes: Sequence[str]) -> Listing:
    split = official_split(source.options)
    wanted = [note for note in notes if note.endswith(f"list0{split}.txt")]
    if len(wanted) != 2:
        raise DataError(
            f"{source.notes.top}: split {split} of UCF101 needs trainlist0{split}.txt and testlist0{split}.txt once, "
            f"but found {', '.join(wanted) or 'neither'}"
        )
    wanted.sort(key=lambda note: "testlist" in note)
    return listing(source, _ucf101(source, wanted), title=f"UCF101 split {split}", files=wanted)


def _ucf101(source: Source, notes: Sequence[str]) -> _Listed:
    """Lines "Class/v_Class_g08_c01.avi 1", without the number in test lists; g08 is the video that it was cut from."""
    for note in notes:
        for line in source.lines(note):
            name = line.rsplit(maxsplit=1)[0] if re.search(r"\s\d+$", line) else line
            label = PurePosixPath(name).parent.name
            source_video = re.search(r"_(g\d+)_c\d+", name)
            yield (
                name,
                note,
                {
                    "label": label,
                    "split": "test" if "testlist" in note else "train",
                    "group": f"{label}_{source_video[1]}" if source_video else None,
                },
            )


def _find_hmdb51(source: Source) -> list[str]:
    return source.notes.match("*_test_split[1-3].txt")


def _read_hmdb51(source: Source, notes: Sequence[str]) -> Listing:
    split = official_split(source.options)
    wanted = [note for note in notes if note.endswith(f"_test_split{split}.txt")]
    if not wanted:
        raise DataError(f"{source.notes.top}: no *_test_split{split}.txt, but lists of other splits: take one of those")
    return listing(source, class_lists(source, wanted, split), title=f"HMDB51 split {split}", files=wanted)


def class_lists(source: Source, notes: Sequence[str], split: int) -> Iterator[tuple[str, str, Columns]]:
    """What `listing` takes, of lists per class with lines like "name.avi 1".

    1 to train on, 2 to test, 0 in neither; names may hold blanks and begin with the name of
    the film that they were cut from.
    """
    for note in notes:
        label = PurePosixPath(note).name.removesuffix(f"_test_split{split}.txt")
        for line in source.lines(note):
            name, _, part = line.rpartition(" ")
            if part not in _HMDB_PARTS:
                raise DataError(f"{source.open(note)}: '{line}' does not end in 0, 1 or 2")
            origin, found, _ = name.rpartition(f"_{label}_")
            columns = {"label": label, "split": _HMDB_PARTS[part], "group": origin if found else None}
            yield f"{label}/{name.strip()}", note, columns


def _find_kinetics(source: Source) -> list[str]:
    return [note for note in source.notes.match("*.csv") if _KINETICS_HEAD.issubset(_head(source, note).split(","))]


def _head(source: Source, note: str) -> str:
    with source.open(note).open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline(1000).strip()


def _read_kinetics(source: Source, notes: Sequence[str]) -> Listing:
    return listing(source, _kinetics(source, notes), title="Kinetics", files=notes)


def _kinetics(source: Source, notes: Sequence[str]) -> _Listed:
    """A line is a stretch of a YouTube video; the official tools cut it out as ID_000010_000020.mp4."""
    for note in notes:
        for line in csv.DictReader(io.StringIO(read_text(source.open(note)))):
            video = line["youtube_id"]
            name = f"{video}_{int(float(line['time_start'])):06d}_{int(float(line['time_end'])):06d}.mp4"
            part = SPLITS.get(str(line.get("split") or PurePosixPath(note).stem).lower())
            yield name, note, {"label": line.get("label") or None, "split": part, "group": video}


def _find_something(source: Source) -> list[str]:
    found = source.notes.match("*train.json", "*validation.json", "*test.json", "*labels.json", "*test-answers.csv")
    return found if any(_is_something(source, note) for note in found) else []


def _is_something(source: Source, note: str) -> bool:
    with source.open(note).open(encoding="utf-8", errors="replace") as file:
        return note.endswith("train.json") and '"template"' in file.read(4000)


def _read_something(source: Source, notes: Sequence[str]) -> Listing:
    return listing(source, _something(source, notes), title="Something-Something V2", files=notes)


def _something(source: Source, notes: Sequence[str]) -> _Listed:
    """Videos are called by number; the class is the template without brackets, the text names the objects."""
    known = next((set(_json(source, note)) for note in notes if note.endswith("labels.json")), None)
    answers = {
        number: label
        for note in notes
        if note.endswith("test-answers.csv")
        for number, _, label in (line.partition(";") for line in source.lines(note))
    }
    for note in notes:
        part = SPLITS.get(PurePosixPath(note).stem.rpartition("-")[2])
        for entry in _json(source, note) if part else ():
            label = entry.get("template", answers.get(entry["id"], "")).translate(_BRACKETS)
            if label and known is not None and label not in known:
                raise DataError(
                    f"{source.open(note)}: the template '{label}' of video {entry['id']} is not in the labels"
                )
            yield entry["id"], note, {"label": label or None, "split": part, "text": entry.get("label")}


def _find_diving48(source: Source) -> list[str]:
    found = source.notes.match("Diving48*_train.json", "Diving48*_test.json", "Diving48*vocab.json")
    newer = [note for note in found if "_V2_" in note or note.endswith("vocab.json")]
    return newer if any(note.endswith("train.json") for note in newer) else found


def _read_diving48(source: Source, notes: Sequence[str]) -> Listing:
    title = "Diving48 V2" if any("_V2_" in note for note in notes) else "Diving48 (V1, whose labels are noisy)"
    return listing(source, _diving48(source, notes), title=title, files=notes)


def _diving48(source: Source, notes: Sequence[str]) -> _Listed:
    """Classes are numbers of dives in the vocabulary; a dive's number within its competition video ends its name."""
    vocabulary = next((_json(source, note) for note in notes if note.endswith("vocab.json")), None)
    for note in notes:
        if note.endswith("vocab.json"):
            continue
        for entry in _json(source, note):
            number = int(entry["label"])
            columns = {
                "label": str(number) if vocabulary is None else " ".join(vocabulary[number]),
                "split": "train" if note.endswith("train.json") else "test",
                "group": entry["vid_name"].rpartition("_")[0] or None,
                "start_frame": int(entry["start_frame"]),
                "end_frame": int(entry["end_frame"]),
            }
            yield entry["vid_name"], note, columns


def _json(source: Source, note: str) -> Any:
    try:
        return json.loads(read_text(source.open(note)))
    except ValueError as error:
        raise DataError(f"{source.open(note)}: is no JSON: {error}") from error


_SPLIT = frozenset({"split", "fps", "lists"})

UCF101 = Layout("UCF101", "trainlist01.txt and testlist01.txt", _find_ucf101, _read_ucf101, _SPLIT)
HMDB51 = Layout("HMDB51", "CLASS_test_split1.txt for every class", _find_hmdb51, _read_hmdb51, _SPLIT, "jhmdb")
KINETICS = Layout("Kinetics", "CSV files with youtube_id, time_start, time_end", _find_kinetics, _read_kinetics)
SOMETHING = Layout(
    "Something-Something V2", "*train.json with templates, *labels.json", _find_something, _read_something
)
DIVING48 = Layout("Diving48", "Diving48_V2_train.json and _test.json", _find_diving48, _read_diving48)
