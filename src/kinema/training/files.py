"""Files that are whole or absent: write aside, flush to disk, rename."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kinema.errors import KinemaError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content` in one step; a reader, or a crash, sees the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    _sync_folder(path.parent)


def write_folder_atomic(folder: Path, fill: Callable[[Path], None]) -> None:
    """Create `folder` in one step with what `fill` writes into it; one that exists is whole already and is kept."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    fill(aside)
    for file in aside.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    _sync_folder(aside)
    aside.rename(folder)
    _sync_folder(folder.parent)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        KinemaError: the file does not hold one.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise KinemaError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise KinemaError(f"{path} must hold a JSON object")
    return value


def _sync_folder(folder: Path) -> None:
    # A rename is only durable once its folder is; Windows cannot open folders and does not need it.
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
