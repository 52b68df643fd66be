"""`kinema synth`: worlds by name, changed by settings."""

import csv

import pytest

from kinema.app.rendering import WORLDS, choose_world
from kinema.cli import main
from kinema.data.synthetic import CAMERA_MOTIONS, LongWorld, PersonWorld, World
from kinema.errors import RecipeError


def test_worlds_have_names():
    assert choose_world("shapes") == World()
    assert isinstance(choose_world("persons"), PersonWorld)
    assert isinstance(choose_world("long"), LongWorld)
    assert choose_world("order").events == 2
    assert choose_world("crowd").mingle


@pytest.mark.parametrize("name", WORLDS)
def test_an_accelerometer_has_something_to_feel(name):
    assert choose_world(name).camera_motions == ("drift",)
    assert choose_world(name, imu=True).camera_motions == CAMERA_MOTIONS
    assert choose_world(name, ["camera_motions=walk"], imu=True).camera_motions == ("walk",)


def test_settings_are_key_and_value():
    world = choose_world("shapes", ["size=[32,48]", "speeds=0.4", "border=wrap", "fps=10", "mingle=true", "frames=8"])
    assert world == World(size=(32, 48), speeds=(0.4,), border="wrap", fps=10, mingle=True, frames=8)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["frame=8"], "Did you mean 'frames'"),
        (["frames=eight"], "int wanted"),
        (["frames=true"], "int wanted"),
        (["mingle=1"], "bool wanted"),
        (["border=round"], "border"),
        (["size=[1,"], "lists as"),
        (["size=[32,48,3]"], "size"),
        (["speeds=[fast]"], "speeds"),
        (["camera=high"], "float wanted"),
    ],
)
def test_what_does_not_fit_is_refused(overrides, said):
    with pytest.raises(RecipeError, match=said):
        choose_world("shapes", overrides)


def test_an_unknown_world_is_refused():
    with pytest.raises(RecipeError, match="Did you mean 'persons'"):
        choose_world("person")


def test_the_command_writes_what_is_asked_for(tmp_path, capsys):
    out = tmp_path / "world"
    command = ["synth", str(out), "--world", "persons", "--clips", "1", "--workers", "1"]
    assert main([*command, "--truth", "--sound", "--imu", "--captions", "frames=4", "size=[32,48]"]) == 0
    assert f"kinema scan {out}" in capsys.readouterr().out
    with (out / "labels.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert {"text", "audio", "imu", "masks", "true_flow", "boxes", "truth", "joints", "parts"} <= row.keys()
    assert row["camera"] in CAMERA_MOTIONS
    assert main([*command, "--seed", "1"]) == 1
    assert "another world" in capsys.readouterr().err
