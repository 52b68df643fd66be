"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

from tests.helpers import tiny_manifest

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the small real video sets; the test is skipped where they are absent."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("KINEMA_DATA", beside))
    if not (folder / "ut_interaction").is_dir():
        pytest.skip(f"real video sets not found at {folder}; set KINEMA_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory):
    """Manifest of six scanned videos of 40 frames, 48 x 64, at 10 fps, in four classes of motion; not to be changed."""
    return tiny_manifest(tmp_path_factory.mktemp("tiny_videos"))
