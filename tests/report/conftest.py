"""Run folders to report on."""

from pathlib import Path

import pytest

from tests.report.runs import write_evaluation, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, not evaluated."""
    return write_run(tmp_path / "run")


@pytest.fixture
def evaluated(run: Path) -> Path:
    """A finished and evaluated run."""
    write_evaluation(run)
    return run
