"""Which rows a run trains on, holds out, and remembers."""

import pytest

from kinema.app.pretraining import dry_run
from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.training.loop import pretrain
from kinema.training.recipe import Recipe, load_recipe
from kinema.training.rows import chosen_rows
from tests.helpers import PLAIN, journal, tiny_recipe


def names_of(manifest):
    return manifest.column("path")


def test_a_fraction_is_taken_of_what_is_not_held_out():
    manifest = Manifest.from_rows([{"path": f"{number:02d}.mp4"} for number in range(20)], ".")
    whole = chosen_rows(manifest, Recipe("x", validation=0.2))
    assert len(whole.train) == 16 and len(whole.held_out) == 4 and names_of(whole.used) == names_of(manifest)
    part = chosen_rows(manifest, Recipe("x", validation=0.2, fraction=0.25))
    assert names_of(part.held_out) == names_of(whole.held_out)
    assert names_of(part.train) == names_of(whole.train)[:4]
    assert sorted(names_of(part.used)) == names_of(part.used) == sorted(names_of(part.train) + names_of(part.held_out))
    everything = chosen_rows(manifest, Recipe("x"))
    assert everything.held_out is None and everything.used.digest() == manifest.digest()


def test_segments_of_a_file_and_groups_are_held_out_together():
    rows = [{"path": f"{number // 2}.mp4", "start": float(number % 2)} for number in range(12)]
    held = chosen_rows(Manifest.from_rows(rows, "."), Recipe("x", validation=0.3)).held_out
    assert len(held) == 4 and len(set(names_of(held))) == 2
    with pytest.raises(DataError, match=r"validation=0\.9 holds out every row"):
        chosen_rows(Manifest.from_rows(rows[:2], "."), Recipe("x", validation=0.9))


def test_a_run_on_a_fraction_remembers_what_it_saw_and_resumes(tiny_videos, tmp_path, capsys):
    recipe = tiny_recipe(PLAIN, epochs=1, batch=2, fraction=0.5)
    run = tmp_path / "run"
    pretrain(recipe, tiny_videos, run, quiet=True)
    (start,) = journal(run, "start")
    assert start["videos"] == 3
    assert sorted(names_of(Manifest.read(run / "data.parquet", check_files=False))) == sorted(
        str(tiny_videos.root / name) for name in sorted(names_of(tiny_videos))[:3]
    )
    pretrain(recipe, tiny_videos, run, quiet=True, resume=True)
    with pytest.raises(RecipeError, match=r"fraction was 0\.5, now 1\.0"):
        pretrain(tiny_recipe(PLAIN, epochs=1, batch=2), tiny_videos, run, quiet=True, resume=True)
    dry_run(recipe, tiny_videos)
    assert "3 rows" in capsys.readouterr().out


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01])
def test_a_fraction_lies_between_none_and_all(fraction):
    with pytest.raises(RecipeError, match="fraction="):
        load_recipe("child-view", None, {"fraction": fraction})
