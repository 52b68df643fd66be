"""Run folders: whole or absent, readable years later, and never executed."""

import os
import pickle
import shutil

import pytest
import torch

from kinema.errors import KinemaError, RecipeError
from kinema.training.checkpoint import checkpoints, load_run, load_tensors, load_training_state, save_checkpoint
from kinema.training.files import read_json, write_atomic, write_folder_atomic
from kinema.training.journal import Journal, read_journal, rewind
from kinema.training.loop import Trainer, pretrain
from tests.helpers import PLAIN, assert_same_bits, journal, tiny_recipe


@pytest.fixture(scope="module")
def finished(tiny_videos, tmp_path_factory):
    """A finished run of STS with averaged weights; not to be changed."""
    folder = tmp_path_factory.mktemp("checkpoint") / "run"
    recipe = tiny_recipe(epochs=1, batch=10, checkpoint=0.0, keep=3, ema=0.5, **{"optimiser.name": "adamw"})
    pretrain(recipe, tiny_videos, folder, quiet=True)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "run")


class Bomb:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_holds_weights_states_and_versions(finished):
    newest = checkpoints(finished)[-1]
    names = {"model.safetensors", "ema.safetensors", "training_state.pt", "state.json"}
    assert {entry.name for entry in newest.iterdir()} == names
    state = read_json(newest / "state.json")
    assert state["step"] == 3 and state["versions"]["torch"] == torch.__version__
    assert {"kinema", "python", "numpy", "av", "opencv"} <= state["versions"].keys()


def test_loading_gives_back_the_weights_in_eval_mode(finished):
    run = load_run(finished)
    assert run.step == 3 and not run.method.training
    assert_same_bits(dict(run.method.state_dict()), load_tensors(checkpoints(finished)[-1] / "model.safetensors"))
    averaged = load_run(finished, ema=True).method
    assert_same_bits(dict(averaged.state_dict()), load_tensors(checkpoints(finished)[-1] / "ema.safetensors"))
    earlier = load_run(finished, step=2)
    assert earlier.step == 2
    assert not torch.equal(earlier.method.head.weight, run.method.head.weight)


def test_the_encoder_comes_by_name(finished):
    run = load_run(finished)
    clip = torch.rand(2, 3, 8, 32, 32)
    with torch.no_grad():
        assert run.encoder()(clip).pooled.shape == (2, run.encoder("video").feature_dim)
    with pytest.raises(RecipeError, match="no encoder 'audio'; this method yields video"):
        run.encoder("audio")


def test_untrained_is_the_network_that_training_begins_with(finished, tiny_videos, tmp_path):
    run = load_run(finished)
    beginning = Trainer(run.recipe, tiny_videos, tmp_path / "begun", torch.device("cpu")).method
    untrained = run.untrained()
    assert_same_bits(dict(untrained.state_dict()), dict(beginning.state_dict()))
    assert not untrained.training
    trained = dict(run.method.named_parameters())
    assert all(not torch.equal(trained[name], weight) for name, weight in untrained.named_parameters())


def test_only_the_newest_checkpoints_stay(finished):
    assert [entry.name for entry in checkpoints(finished)] == ["step-00000001", "step-00000002", "step-00000003"]


def test_pruning_keeps_the_newest_by_step(tmp_path):
    for step in (8, 9, 10, 11):
        save_checkpoint(tmp_path, step, model={"w": torch.ones(1) * step}, training={}, state={}, keep=2)
    assert [entry.name for entry in checkpoints(tmp_path)] == ["step-00000010", "step-00000011"]
    assert load_tensors(checkpoints(tmp_path)[-1] / "model.safetensors")["w"].item() == 11


def test_tied_and_strided_weights_are_saved(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    model = {"a": shared, "b": shared, "c": shared.t(), "d": shared[:, 1]}
    folder = save_checkpoint(tmp_path, 1, model=model, training={}, state={})
    found = load_tensors(folder / "model.safetensors")
    assert all(torch.equal(found[name], model[name]) for name in model)


def test_a_checkpoint_cut_short_is_no_checkpoint(tmp_path):
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path, 1, model={"w": torch.ones(1)}, training={}, state={"bad": object()})
    assert checkpoints(tmp_path) == []
    save_checkpoint(tmp_path, 1, model={"w": torch.ones(1)}, training={}, state={})
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_loading_executes_nothing(run, tiny_videos):
    """A training state that is a pickle bomb is refused, by loading and by resuming."""
    newest = checkpoints(run)[-1]
    bomb = {"optimisers": Bomb(run / "exploded"), "scaler": {}}
    torch.save(bomb, newest / "training_state.pt")
    with pytest.raises(RecipeError, match=r"training_state\.pt cannot be read as a training state"):
        load_training_state(newest, torch.device("cpu"))
    with pytest.raises(RecipeError, match="Delete this step's folder to go on from the checkpoint before it"):
        pretrain(load_run(run).recipe, tiny_videos, run, resume=True, quiet=True)
    (newest / "model.safetensors").write_bytes(pickle.dumps(bomb))
    with pytest.raises(RecipeError, match=r"model\.safetensors cannot be read as weights"):
        load_run(run)
    assert not (run / "exploded").exists()
    pickle.loads(pickle.dumps(bomb))
    assert (run / "exploded").exists()


def test_recipes_hold_no_code(run):
    (run / "recipe.yaml").write_text(f"method: !!python/object/apply:os.system ['touch {run}/exploded']")
    with pytest.raises(RecipeError, match=r"recipe\.yaml is not valid YAML"):
        load_run(run)
    assert not (run / "exploded").exists()


@pytest.mark.parametrize("length", [0, 4, 100, -10])
def test_damaged_weights_are_explained_and_the_checkpoint_before_is_still_good(run, length):
    path = checkpoints(run)[-1] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RecipeError, match=r"step-00000003.model\.safetensors cannot be read as weights: .*Delete"):
        load_run(run)
    shutil.rmtree(path.parent)
    assert load_run(run).step == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"text"])
def test_a_damaged_training_state_is_explained(run, tiny_videos, content):
    (checkpoints(run)[-1] / "training_state.pt").write_bytes(content)
    with pytest.raises(RecipeError, match=r"step-00000003.training_state\.pt cannot be read as a training state"):
        pretrain(load_run(run).recipe, tiny_videos, run, resume=True, quiet=True)


def test_weights_of_another_network_are_explained(run):
    text = (run / "recipe.yaml").read_text().replace("width: 4", "width: 8")
    (run / "recipe.yaml").write_text(text)
    with pytest.raises(
        RecipeError, match=r"model\.safetensors does not fit the recipe beside it: .*size mismatch"
    ) as caught:
        load_run(run)
    assert len(str(caught.value)) < 1000


def test_what_is_no_run_is_explained(run, tmp_path):
    with pytest.raises(RecipeError, match=r"is no run folder: it holds no recipe\.yaml"):
        load_run(tmp_path / "nothing")
    with pytest.raises(
        RecipeError, match=r"no such checkpoint .there are: step-00000001, step-00000002, step-00000003"
    ):
        load_run(run, step=7)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RecipeError, match=r"no such checkpoint .there are: none.; train it with: kinema pretrain"):
        load_run(run)


def test_averaged_weights_must_have_been_kept(tiny_videos, tmp_path):
    pretrain(tiny_recipe(PLAIN, epochs=1), tiny_videos, tmp_path / "run", quiet=True)
    with pytest.raises(RecipeError, match="holds no averaged weights: the run was trained with ema=0"):
        load_run(tmp_path / "run", method=PLAIN, ema=True)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.json"
    write_atomic(path, "old")

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"


def test_a_folder_is_whole_or_absent(tmp_path):
    def fill(folder):
        (folder / "a").write_text("whole")

    def fail(folder):
        (folder / "a").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_folder_atomic(tmp_path / "one", fail)
    assert not (tmp_path / "one").exists()
    write_folder_atomic(tmp_path / "one", fill)
    write_folder_atomic(tmp_path / "one", fail)
    assert (tmp_path / "one" / "a").read_text() == "whole"
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


def test_json_that_is_none_is_explained(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    for name, message in {"bad": "cannot be read as JSON", "list": "must hold a JSON object"}.items():
        with pytest.raises(KinemaError, match=rf"{name}\.json {message}"):
            read_json(tmp_path / f"{name}.json")


def test_the_journal_survives_a_line_cut_short(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = Journal(path)
    for step in range(3):
        log.write("step", step=step, loss=float("inf"))
    log.close()
    with path.open("a") as file:
        file.write('{"event": "step", "st')
    assert [record["step"] for record in read_journal(path)] == [0, 1, 2]
    rewind(path, 2)
    assert [record["step"] for record in journal(tmp_path)] == [0, 1]
    assert list(read_journal(tmp_path / "nothing.jsonl")) == []


def test_rewinding_keeps_what_was_measured_after_the_last_step_that_counts(tmp_path):
    """A look after three steps belongs to a checkpoint of three steps; the fourth step does not."""
    log = Journal(tmp_path / "metrics.jsonl")
    log.write("start", samples=9)
    for step in range(5):
        log.write("step", step=step)
        log.write("health", step=step + 1)
        log.write("validation", step=step + 1)
    log.write("quarantine", step=3, path="x")
    log.write("skipped", step=2)
    log.write("end", step=5)
    log.close()
    rewind(tmp_path / "metrics.jsonl", 3)
    kept = [(record["event"], record.get("step")) for record in journal(tmp_path)]
    looks = [entry for step in range(3) for entry in (("step", step), ("health", step + 1), ("validation", step + 1))]
    assert kept == [("start", None), *looks, ("skipped", 2)]
