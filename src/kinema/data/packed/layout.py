"""How a packed store is laid out: pictures of one size, numbered through, in files of bounded size.

A store is a folder:

* `store.json`: this layout. `plan.npz`: which pictures of which video have which numbers.
* `00000.npy`, `00001.npy` …: format "raw", [pictures, channels, height, width], memory-mapped when read; or
  `00000.bin` …: format "intra", every picture coded alone, one after the other.
* `00000.index.npy` …: per picture the byte at which it ends (intra) and a 64-bit checksum of its stored bytes.
* `00000.json` …: bytes, and the videos that could not be read. A data file exists only when it is whole.
* `manifest.parquet`: the rows that are complete, and what was set aside; written last.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kinema.data.packed.files import replacing
from kinema.errors import DataError

Kind = Literal["frames", "flow"]
Format = Literal["raw", "intra"]

LAYOUT_FILE, PLAN_FILE, MANIFEST_FILE = "store.json", "plan.npz", "manifest.parquet"
_VERSION = 2


@dataclass(frozen=True)
class Layout:
    """What a store holds.

    Attributes:
        kind: "frames" (RGB) or "flow" (u, v).
        format: "raw", or "intra": frames as JPEG, flow deflated without loss.
        height, width: of every picture.
        data: digest of the manifest that it was made of.
        pictures: how many in all.
        per_file: how many in each data file.
        step: of frames every `step`-th of the sampled rate is kept; flow leads over `step` frames of that rate.
        rate: sampled rate in frames per second; None: each video's own.
        quality: of JPEG, 0 to 100.
        preset: of the flow.
        bits: 8; of flow also 16, which is half precision instead of the 8-bit coding.
    """

    kind: Kind
    format: Format
    height: int
    width: int
    data: str
    pictures: int
    per_file: int
    step: int = 1
    rate: float | None = None
    quality: int = 95
    preset: str = ""
    bits: Literal[8, 16] = 8
    version: int = _VERSION

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a picture."""
        return (3 if self.kind == "frames" else 2), self.height, self.width

    @property
    def picture_bytes(self) -> int:
        """Bytes of a picture that is not coded."""
        channels, height, width = self.shape
        return channels * height * width * self.bits // 8

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a value."""
        return np.dtype(np.uint8 if self.bits == 8 else np.float16)

    @property
    def files(self) -> int:
        """Number of data files."""
        return -(-self.pictures // self.per_file)

    @property
    def column(self) -> str:
        """The manifest column that points to a store of this kind."""
        return "packed" if self.kind == "frames" else "flow"

    def span(self, file: int) -> tuple[int, int]:
        """First picture of a data file, and the one after its last."""
        return file * self.per_file, min((file + 1) * self.per_file, self.pictures)

    def write(self, folder: Path) -> None:
        """Write `store.json`."""
        with replacing(folder / LAYOUT_FILE) as file:
            file.write((json.dumps(asdict(self), indent=1) + "\n").encode())


def is_store(folder: Path) -> bool:
    """Whether a folder holds a packed store, finished or not."""
    return (folder / LAYOUT_FILE).is_file()


def finished_manifest(folder: Path) -> Path:
    """The manifest of the store in a folder.

    Raises:
        DataError: the store is not finished.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise DataError(f"{folder} is a packed store that is not finished: run the command that began it once more")
    return path


def read_layout(folder: Path) -> Layout:
    """The layout of the store in a folder.

    Raises:
        DataError: there is none, or of another version.
    """
    path = folder / LAYOUT_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["version"] != _VERSION:
            raise DataError(f"{path} has version {values['version']}, this kinema reads {_VERSION}: pack the data anew")
        return Layout(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is no packed store ({path.name} cannot be read: {error})") from error


def data_file(folder: Path, file: int, layout: Layout) -> Path:
    """The pictures of one data file."""
    return folder / f"{file:05d}{'.npy' if layout.format == 'raw' else '.bin'}"


def index_file(folder: Path, file: int) -> Path:
    """Ends and checksums of the pictures of one data file."""
    return folder / f"{file:05d}.index.npy"


def facts_file(folder: Path, file: int) -> Path:
    """Bytes of one data file, and what of it could not be read."""
    return folder / f"{file:05d}.json"
