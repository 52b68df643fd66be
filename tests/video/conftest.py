"""Fixtures of the tests of the reader."""

import pytest

from tests.video.rendering import write_numbered


@pytest.fixture(scope="session")
def numbered(tmp_path_factory):
    """Function: the path of a numbered video with these options of `write_numbered`, written once per session."""
    folder = tmp_path_factory.mktemp("numbered")
    made = {}

    def make(name, *args, **options):
        key = name, args, tuple((option, str(value)) for option, value in options.items())
        if key not in made:
            (folder / str(len(made))).mkdir()
            made[key] = write_numbered(folder / str(len(made)) / name, *args, **options)
        return made[key]

    return make
