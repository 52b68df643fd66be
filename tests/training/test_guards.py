"""What must never happen: training on with wrong numbers, over someone's files, or against what was asked."""

from dataclasses import replace

import pytest
import torch

from kinema.errors import DataError, RecipeError, TrainingDiverged
from kinema.methods.base import Method
from kinema.training import loop, stepper
from kinema.training.checkpoint import checkpoints, load_run, load_tensors
from kinema.training.loop import pretrain
from tests.helpers import (
    PLAIN,
    Plain,
    assert_same_bits,
    journal,
    stopping_after,
    tiny_recipe,
)


def plain_recipe(**overrides):
    return tiny_recipe(PLAIN, **{"optimiser.lr": 0.05, **overrides})


def test_bfloat16_is_refused_where_torch_gets_convolutions_wrong(tiny_videos, tmp_path, monkeypatch):
    """As torch 2.13 does on some CPUs; a network without 3D convolutions may always use it."""
    recipe = tiny_recipe(precision="bf16", epochs=1)
    monkeypatch.setattr(stepper, "_bf16_error", lambda: float("nan"))
    with pytest.raises(RecipeError, match=r"precision=bf16: torch .* wrong gradients of 3D conv.* use precision"):
        pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    stepper.check_precision(plain_recipe().build(), "bf16", torch.device("cpu"))
    stepper.check_precision(recipe.build(), "fp32", torch.device("cpu"))
    monkeypatch.setattr(stepper, "_bf16_error", lambda: 0.003)
    stepper.check_precision(recipe.build(), "bf16", torch.device("cpu"))


def test_the_check_of_bfloat16_tells_right_from_wrong(monkeypatch):
    """Right is a convolution in double precision, rounded; wrong is one that forgets a frame."""
    original = torch.nn.functional.conv3d

    def right(clip, weight, **options):
        return original(clip.double(), weight.double(), **options).to(clip.dtype)

    def wrong(clip, weight, **options):
        return right(
            clip if clip.dtype == torch.float32 else clip * torch.tensor([1, 0]).view(2, 1, 1), weight, **options
        )

    for convolution, low, high in ((right, 1e-4, 0.01), (wrong, 0.1, 2.0)):
        monkeypatch.setattr(torch.nn.functional, "conv3d", convolution)
        assert low < stepper._bf16_error() < high


def test_a_resumed_run_keeps_its_number_of_threads(tiny_videos, tmp_path, monkeypatch):
    """Also where the machine has another number of cores."""
    recipe = plain_recipe(checkpoint=0.0)
    monkeypatch.setattr(loop, "cores", lambda: 6)
    with stopping_after(monkeypatch, 2):
        pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    monkeypatch.setattr(loop, "cores", lambda: 2)
    before = torch.get_num_threads()
    pretrain(recipe, tiny_videos, tmp_path / "run", resume=True, quiet=True)
    assert [record["threads"] for record in journal(tmp_path / "run", "start")] == [3, 3]
    assert torch.get_num_threads() == before


def test_processes_on_one_machine_share_its_cores(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone = loop.cores()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert loop.cores() == max(1, alone // 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "999")
    assert loop.cores() == 1
    assert loop.default_workers(torch.device("cpu")) == 1


def test_a_loss_that_is_not_finite_stops_before_the_weights_move(tiny_videos, tmp_path):
    good = plain_recipe(checkpoint=0.0, keep=100, ema=0.5)
    pretrain(good, tiny_videos, tmp_path / "good", quiet=True)
    bad = replace(good, options={**good.options, "nan_at": 6})
    with pytest.raises(TrainingDiverged) as caught:
        pretrain(bad, tiny_videos, tmp_path / "bad", quiet=True)
    message = str(caught.value)
    assert "loss nan" in message and "at step 6" in message and "not finite: error" in message
    assert "gradients not finite" in message and "clip_grad=1.0" in message and "learning rate" in message
    last = checkpoints(tmp_path / "bad")[-1]
    assert last.name == "step-00000006"
    for name in ("model", "ema"):
        expected = load_tensors(tmp_path / "good" / "checkpoints" / last.name / f"{name}.safetensors")
        assert_same_bits(load_tensors(last / f"{name}.safetensors"), expected)
    assert [record["step"] for record in journal(tmp_path / "bad", "step")] == list(range(6))
    assert load_run(tmp_path / "bad", method=PLAIN).step == 6


class Steep(Plain):
    """A finite loss whose gradient is not."""

    def losses(self, batch, phase):
        found = super().losses(batch, phase)
        zero = (self.head.weight * 0).sum()
        return {**found, "loss": found["loss"] + torch.sqrt(zero)}


def test_a_gradient_that_is_not_finite_stops_too(tiny_videos, tmp_path):
    recipe = replace(plain_recipe(), method=f"{__name__}:Steep")
    with pytest.raises(
        TrainingDiverged, match=r"gradient norm nan at step 0; 1 gradients not finite, first head\.weight"
    ):
        pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    assert checkpoints(tmp_path / "run") == []


def test_validation_must_leave_something_to_train_on(tiny_videos, tmp_path):
    with pytest.raises(DataError, match=r"validation=0\.9 holds out every row"):
        pretrain(plain_recipe(validation=0.9), tiny_videos.select([0, 0]), tmp_path / "run", quiet=True)


def test_a_missing_column_stops_before_anything_is_written_or_trained(tiny_videos, tmp_path):
    class_name = f"{__name__}:Listener"
    with pytest.raises(
        DataError, match=f"method '{class_name}' needs the column 'audio', which the manifest in .* lacks"
    ):
        pretrain(replace(plain_recipe(), method=class_name), tiny_videos, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


class Listener(Plain):
    """Needs a column that tiny videos lack."""

    columns = ("path", "audio")


def test_a_batch_that_cannot_be_cut_stops_before_anything_is_written(tiny_videos, tmp_path):
    with pytest.raises(RecipeError, match="batch=6 cannot be cut into 1 processes x 4 micro-batches: use batch=8"):
        pretrain(plain_recipe(accumulate=4), tiny_videos, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_there_is_never_overwritten(tiny_videos, tmp_path):
    recipe = plain_recipe(epochs=1)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    for resume in (False, True):
        with pytest.raises(RecipeError, match="thesis exists and is no run folder: choose another with -o"):
            pretrain(recipe, tiny_videos, tmp_path / "thesis", resume=resume, quiet=True)
    pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    with pytest.raises(RecipeError, match=r"run holds a run already: go on with --resume"):
        pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)


def test_the_base_method_asks_for_what_is_missing():
    with pytest.raises(NotImplementedError):
        Method().losses({}, Method.phases[0])
