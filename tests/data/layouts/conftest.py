"""Fixtures of the tests of layouts."""

import pytest


@pytest.fixture
def make(tmp_path):
    """Function: a folder with these files; empty ones, or {name: text}. Layouts open no video, so names are enough."""

    def write(*names, folder="set", **texts):
        for name in [*names, *texts.pop("notes", {})]:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / folder

    def make(*names, notes=None, frames=(), folder="set"):
        top = write(*names, *(f"{place}/frame{k:06d}.jpg" for place in frames for k in (1, 2)), folder=folder)
        for name, text in (notes or {}).items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return top

    return make


@pytest.fixture
def rows():
    """Function: the rows of a listing by path, without the path."""
    return lambda listing: {row["path"]: {k: v for k, v in row.items() if k != "path"} for row in listing.rows}
