"""Rendered videos shared by the tests of evaluation."""

from pathlib import Path

import numpy as np
import pytest

from kinema.data.manifest import Manifest
from tests.evaluation.videos import COLOURS, grey_ramp, write_video


@pytest.fixture(scope="session")
def ramp(tmp_path_factory) -> Path:
    """60 frames at 25 fps; frame k has the grey level 4 k."""
    path = tmp_path_factory.mktemp("ramp") / "ramp.mkv"
    write_video(path, grey_ramp(60))
    return path


@pytest.fixture(scope="session")
def colours(tmp_path_factory) -> Manifest:
    """Three colours in seven scenes that differ in brightness: 21 videos of 8 to 14 frames."""
    folder = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    rows = []
    for scene in range(7):
        for name, colour in COLOURS.items():
            frames = np.array(colour) * (0.5 + 0.06 * scene) + rng.normal(0, 6, (rng.integers(8, 15), 24, 32, 1))
            path = f"{name}/scene{scene}.mkv"
            write_video(folder / path, frames.clip(0, 255).astype(np.uint8))
            rows.append({"path": path, "label": name, "scene": f"s{scene}", "split": "train" if scene < 3 else "test"})
    return Manifest.from_rows(rows, folder)
