"""The machine-readable log of a run: one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kinema.training.files import write_atomic


class Journal:
    """Appends events to a JSONL file; flushed line by line, so that a killed run loses at most the last one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: str, **values: Any) -> dict[str, Any]:
        """Append one event and return it."""
        record = {"event": event, **values}
        self._file.write(json.dumps(record, allow_nan=True) + "\n")
        self._file.flush()
        return record

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a journal, in order; a last line cut short by a kill is passed over."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def rewind(path: Path, step: int) -> None:
    """Drop what a run will do again when it goes on after `step` steps: the events of later steps, and its end.

    Steps are numbered from 0; a look at the features, or a validation, carries the number of steps done before it.
    """
    kept = [json.dumps(record) for record in read_journal(path) if _stays(record, step)]
    if path.is_file():
        write_atomic(path, "".join(f"{line}\n" for line in kept))


def _stays(record: dict[str, Any], step: int) -> bool:
    if "step" not in record:
        return True
    looked = record["event"] in ("health", "validation")
    return bool(record["event"] != "end" and record["step"] < step + looked)
