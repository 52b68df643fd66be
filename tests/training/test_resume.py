"""A run that was stopped, in whatever way, ends as if it had never stopped: bit for bit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import kinema
from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.randomness import numpy_generator
from kinema.training.loop import pretrain
from tests.helpers import (
    PLAIN,
    assert_same_bits,
    assert_same_journal,
    assert_same_run,
    damage,
    final_weights,
    journal,
    stopped_and_resumed,
    stopping_after,
    tiny_recipe,
)

WHOLE = {"optimiser.name": "adamw", "ema": 0.9, "validation": 0.3, "health": 1.0, "batch": 4}
"""Everything that has a state: two moments, averages, BatchNorm; and looks in between."""


def command_line(recipe_file, data, out, *overrides):
    """Start `kinema pretrain … --resume` as a person would, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(kinema.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    arguments = ["pretrain", "sts", "--data", data, "--recipe", recipe_file, "-o", out, "--resume", *overrides]
    return subprocess.Popen(
        [sys.executable, "-m", "kinema", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for(process, condition):
    """Look every few milliseconds until `condition` holds; the process must not end before."""
    while not condition():
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.002)


def kill(process):
    """kill -9; its workers are left to notice by themselves, and reaped at last."""
    process.kill()
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL


def last_step(run):
    """The number of the last step in the journal, -1 before the first; a line may be half written."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return max(
        (int(line.split('"step": ')[1].split(",")[0]) for line in lines if line.count('"step"') == 2), default=-1
    )


def starts(run):
    """The lines of the journal that say a process began; the last may be half written."""
    path = run / "metrics.jsonl"
    return [line for line in path.read_text().splitlines() if '"event": "start"' in line] if path.exists() else []


@pytest.mark.slow
def test_killed_five_times_and_resumed_ends_in_the_same_bits(tiny_videos, tmp_path):
    recipe = tiny_recipe(**WHOLE, epochs=5, curriculum=2, workers=1)
    pretrain(recipe, tiny_videos, tmp_path / "whole", quiet=True)
    total = len(journal(tmp_path / "whole", "step"))
    tiny_videos.write(tmp_path / "videos.parquet")
    (tmp_path / "recipe.yaml").write_text(replace(recipe, checkpoint=0.0).to_yaml())
    run = tmp_path / "run"
    moments = sorted(numpy_generator("kill").choice(total - 6, 5, replace=False).tolist())
    processes = []
    try:
        for number, moment in enumerate(moments):
            workers = f"workers={number % 2}"
            processes.append(command_line(tmp_path / "recipe.yaml", tmp_path / "videos.parquet", run, workers))
            # The journal may hold the step already, from before the last kill: wait for this process's own start.
            wait_for(processes[-1], lambda number=number: len(starts(run)) > number)
            wait_for(processes[-1], lambda moment=moment: last_step(run) >= moment)
            if number % 2:
                # While a checkpoint is being written.
                wait_for(processes[-1], lambda: any((run / "checkpoints").glob(".step-*.tmp")))
            kill(processes[-1])
            assert last_step(run) < total - 1
            leave_rubbish(run)
        processes.append(command_line(tmp_path / "recipe.yaml", tmp_path / "videos.parquet", run))
        output, _ = processes[-1].communicate()
        assert processes[-1].returncode == 0, output.decode()
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert_same_run(tmp_path / "whole", run)
    assert_same_journal(tmp_path / "whole", run)
    assert len(journal(run, "start")) == 6


def leave_rubbish(run):
    """What the worst moment leaves: half a checkpoint of a step to come, and half a line in the journal."""
    half = run / "checkpoints" / f".step-{last_step(run) + 2:08d}.tmp"
    half.mkdir(parents=True, exist_ok=True)
    (half / "model.safetensors").write_bytes(b"half")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "ste')


PLAIN_RECIPES = {
    "dropout": {"dropout": 0.5},
    "averages": {"ema": 0.9, "optimiser.name": "adamw"},
    "micro-batches": {"accumulate": 2, "clip_grad": 0.1},
    "half": {"precision": "bf16"},
    "scaled": {"precision": "fp16"},
}


@pytest.mark.parametrize("name", PLAIN_RECIPES)
def test_stopped_anywhere_a_plain_method_ends_in_the_same_bits(tiny_videos, tmp_path, monkeypatch, name):
    recipe = tiny_recipe(PLAIN, **PLAIN_RECIPES[name], checkpoint=0.0)
    pretrain(recipe, tiny_videos, tmp_path / "whole", quiet=True)
    stopped_and_resumed(monkeypatch, recipe, tiny_videos, tmp_path / "run", [0, 1, 3, 0, 2])
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert_same_journal(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("channels_last", [False, True])
def test_stopped_anywhere_sts_ends_in_the_same_bits(tiny_videos, tmp_path, monkeypatch, channels_last):
    recipe = tiny_recipe(**WHOLE, checkpoint=0.0, channels_last=channels_last)
    pretrain(recipe, tiny_videos, tmp_path / "whole", quiet=True)
    stopped_and_resumed(monkeypatch, recipe, tiny_videos, tmp_path / "run", [3, 4])
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert_same_journal(tmp_path / "whole", tmp_path / "run")


def test_stopped_before_its_first_checkpoint_a_run_begins_anew(tiny_videos, tmp_path, monkeypatch):
    recipe = tiny_recipe(PLAIN)
    pretrain(recipe, tiny_videos, tmp_path / "whole", quiet=True)
    stopped_and_resumed(monkeypatch, recipe, tiny_videos, tmp_path / "run", [3, 5])
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert_same_journal(tmp_path / "whole", tmp_path / "run")


def test_files_that_broke_are_listed_once_across_resumes(tiny_videos, tmp_path, monkeypatch):
    shutil.copytree(tiny_videos.root, tmp_path / "videos")
    manifest = Manifest(tiny_videos.table, tmp_path / "videos")
    damage(manifest.path(2))
    recipe = tiny_recipe(PLAIN, checkpoint=0.0)
    pretrain(recipe, manifest, tmp_path / "whole", quiet=True)
    stopped_and_resumed(monkeypatch, recipe, manifest, tmp_path / "run", [2, 4])
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert_same_journal(tmp_path / "whole", tmp_path / "run")
    listed = [(folder / "quarantine.jsonl").read_text() for folder in (tmp_path / "whole", tmp_path / "run")]
    assert listed[0] == listed[1] and len(listed[0].splitlines()) == 1


def test_a_finished_run_is_left_as_it_is(tiny_videos, tmp_path):
    recipe = tiny_recipe(PLAIN, validation=0.3)
    pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    before, weights = journal(tmp_path / "run")[1:], final_weights(tmp_path / "run")
    run = pretrain(recipe, tiny_videos, tmp_path / "run", resume=True, quiet=True)
    assert_same_bits(final_weights(tmp_path / "run"), weights)
    after = journal(tmp_path / "run")
    assert [record["event"] for record in before] == [record["event"] for record in after if record["event"] != "start"]
    assert run.step == before[-1]["steps"]


def test_resuming_what_is_not_there_begins(tiny_videos, tmp_path):
    assert pretrain(tiny_recipe(PLAIN), tiny_videos, tmp_path / "run", resume=True, quiet=True).step == 10


@pytest.mark.parametrize("left", [["data.json"], ["data.json", "data.parquet", ".recipe.yaml.123.tmp"], [".x.tmp"]])
@pytest.mark.parametrize("resume", [False, True])
def test_a_run_killed_while_it_made_its_folder_begins(tiny_videos, tmp_path, left, resume):
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).write_text("half")
    assert pretrain(tiny_recipe(PLAIN), tiny_videos, tmp_path / "run", resume=resume, quiet=True).step == 10


def test_a_manifest_in_the_way_is_not_overwritten(tiny_videos, tmp_path):
    tiny_videos.write(tmp_path / "data.parquet")
    with pytest.raises(RecipeError, match="exists and is no run folder"):
        pretrain(tiny_recipe(PLAIN), tiny_videos, tmp_path, resume=True, quiet=True)


def test_another_recipe_is_refused_and_named(tiny_videos, tmp_path):
    recipe = tiny_recipe(PLAIN)
    pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    for changed, message in (
        (replace(recipe, epochs=3), "epochs was 2, now 3"),
        (replace(recipe, seed=5), "seed was 0, now 5"),
        (replace(recipe, optimiser=replace(recipe.optimiser, lr=0.5)), "optimiser was .*lr=0.01.* now .*lr=0.5"),
    ):
        with pytest.raises(RecipeError, match=rf"started with another recipe \({message}.*\): resume with the same"):
            pretrain(changed, tiny_videos, tmp_path / "run", resume=True, quiet=True)


def test_what_moves_no_weight_may_change(tiny_videos, tmp_path, monkeypatch):
    recipe = tiny_recipe(PLAIN, checkpoint=0.0)
    pretrain(recipe, tiny_videos, tmp_path / "whole", quiet=True)
    with stopping_after(monkeypatch, 4):
        pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    changed = replace(recipe, workers=2, checkpoint=5.0, keep=1, health=0.5)
    pretrain(changed, tiny_videos, tmp_path / "run", resume=True, quiet=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_other_data_are_refused(tiny_videos, tmp_path):
    recipe = tiny_recipe(PLAIN)
    pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    with pytest.raises(DataError, match="was started on other data"):
        pretrain(recipe, tiny_videos.select([0, 1, 2, 3, 5, 4]), tmp_path / "run", resume=True, quiet=True)


def test_a_run_of_another_method_is_refused_without_importing_it(tiny_videos, tmp_path, monkeypatch):
    """A run folder from elsewhere names a module; resuming it with one's own method must not run that module."""
    pretrain(tiny_recipe(PLAIN, epochs=1), tiny_videos, tmp_path / "run", quiet=True)
    text = (tmp_path / "run" / "recipe.yaml").read_text().replace(PLAIN, "trap_method:Trap")
    (tmp_path / "run" / "recipe.yaml").write_text(text)
    (tmp_path / "trap_method.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match="trained by 'trap_method:Trap', which is not part of kinema"):
        pretrain(tiny_recipe(), tiny_videos, tmp_path / "run", resume=True, quiet=True)
