"""Fine-tuning: the presets, what is trained, which clips are shown, and that it repeats itself."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from kinema.data.index import per_row
from kinema.data.manifest import Manifest
from kinema.data.sample import Clock, collate
from kinema.errors import DataError, RecipeError, TrainingDiverged
from kinema.evaluation import EvaluationSettings, Extraction, evaluate
from kinema.evaluation.classifier import Classifier, block_depths
from kinema.evaluation.finetune import finetune, finetune_card, finetuned_scores
from kinema.evaluation.finetune_clips import LabelledClips
from kinema.evaluation.finetune_presets import FINETUNE_PRESETS, FROZEN_PRESETS, FineTune
from kinema.evaluation.overrides import overridden
from kinema.evaluation.splits import make_split
from kinema.methods.base import ParamGroup
from kinema.metrics import topk_accuracy
from kinema.modules.encoder import Encoder, EncoderInput, Features
from kinema.randomness import numpy_generator
from kinema.training.recipe import OptimiserConfig, ScheduleConfig
from kinema.views import Erasing, Mixing
from tests.evaluation.videos import SMALL, untrained_net

READING = Extraction("single_center")
QUICK = replace(FINETUNE_PRESETS["quick"], epochs=2, batch=3, views="single_center")


@pytest.fixture(scope="module")
def split(colours):
    return make_split(colours, group="scene")


class Blocks(Encoder):
    """Patches, three blocks of a list, a norm: the outline of a transformer."""

    def __init__(self):
        super().__init__()
        self.input, self.feature_dim = SMALL, 4
        self.position = nn.Parameter(torch.zeros(1, 1, 4))
        self.patches = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.norm = nn.LayerNorm(4)

    def forward(self, x, valid=None, taps=()):
        tokens = self.patches(x.flatten(2).transpose(1, 2)) + self.position
        for block in self.blocks:
            tokens = tokens + block(tokens)
        tokens = self.norm(tokens)
        return Features(tokens.mean(1), tokens)


def train(colours, split, preset, *, encoder=None, reading=READING, seed=0):
    return finetune(encoder or untrained_net(), colours, split, preset, reading=reading, seed=seed)


def same(first, second):
    return all(torch.equal(first[name], value) for name, value in second.items())


def test_it_learns_the_colours_and_leaves_the_encoder_and_the_generators_alone(colours, split):
    net = untrained_net()
    before, state = copy.deepcopy(net.state_dict()), torch.random.get_rng_state()
    preset = replace(QUICK, epochs=15, optimiser=OptimiserConfig("adamw", 0.02))
    trained = train(colours, split, preset, encoder=net)
    scores = finetuned_scores(trained, colours, split, READING)
    assert topk_accuracy(scores.video[""], split.labels[split.test]) > 80
    np.testing.assert_allclose(scores.video[""].sum(1), 1)
    assert same(before, net.state_dict()) and all(p.grad is None for p in net.parameters())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("changes", [{}, {"crop": "area", "flip": 0.5}, {"precision": "bf16", "dropout": 0.5}])
def test_the_same_key_gives_the_same_weights_whatever_the_workers(colours, split, changes):
    class Pixels(Encoder):
        """No convolution, which some CPUs get wrong in bfloat16."""

        def __init__(self):
            super().__init__()
            self.input, self.feature_dim, self.layer = SMALL, 8, nn.Linear(3, 8)

        def forward(self, x, valid=None, taps=()):
            return Features(self.layer(x.mean((2, 3, 4))))

    preset, encoder = replace(QUICK, **changes), Pixels()
    states = [
        train(
            colours, split, preset, encoder=encoder, reading=replace(READING, workers=w), seed=s
        ).classifier.state_dict()
        for w, s in ((0, 0), (2, 0), (0, 1))
    ]
    assert same(states[0], states[1]) and not same(states[0], states[2])


def test_all_weights_move_or_only_those_of_the_head(colours, split):
    net = untrained_net()
    start = Classifier(net, 3, QUICK).state_dict()
    end = train(colours, split, QUICK, encoder=net).classifier.state_dict()
    moved = {name for name in end if not torch.equal(end[name], start[name])}
    assert {"encoder.conv.weight", "encoder.norm.weight", "encoder.norm.running_mean", "head.2.weight"} <= moved
    frozen = replace(FROZEN_PRESETS["coclr_end2end"], epochs=1, batch=3, native=True, jitter=(0, 0, 0, 0))
    probe = train(colours, split, frozen, encoder=net).classifier
    end = probe.state_dict()
    assert {
        name for name in end if name in start and name.startswith("encoder") and (end[name] != start[name]).any()
    } == set()
    assert all(p.grad is None for p in probe.encoder.parameters())
    assert (end["head.0.norm.running_mean"] != 0).any()


def test_a_frozen_network_stays_in_evaluation_mode():
    probe = Classifier(untrained_net(), 3, replace(QUICK, frozen=True)).train()
    assert probe.training and probe.head.training and not any(part.training for part in probe.encoder.modules())
    assert all(part.training for part in Classifier(untrained_net(), 3, QUICK).train().modules())


def test_published_settings():
    presets = FINETUNE_PRESETS | FROZEN_PRESETS
    rates = {name: (p.optimiser.name, p.optimiser.lr, p.optimiser.weight_decay) for name, p in presets.items()}
    assert rates == {
        "vcop": ("sgd", 1e-3, 5e-4),
        "prp": ("sgd", 1e-3, 5e-4),
        "rspnet": ("sgd", 0.1, 1e-4),
        "ctp": ("sgd", 0.01, 5e-4),
        "coclr": ("adam", 1e-3, 1e-3),
        "severe": ("adam", 1e-4, 0),
        "videomae": ("adamw", 5e-4, 0.05),
        "benchmark": ("sgd", 0.01, 5e-4),
        "sts": ("sgd", 3e-3, 5e-3),
        "mas": ("sgd", 1e-3, 5e-3),
        "child-view": ("adamw", 2.4e-3, 0.05),
        "child-view-image": ("adamw", 1.2e-3, 0.05),
        "mae_st": ("adamw", 2.4e-3, 0.05),
        "quick": ("adamw", 1e-3, 0.05),
        "coclr_end2end": ("sgd", 0.1, 1e-3),
    }
    lengths = {name: (p.epochs, p.batch, p.frames, p.size[0], p.stride, p.views) for name, p in presets.items()}
    assert lengths == {
        "vcop": (150, 8, 16, 112, 1, "uniform10"),
        "prp": (160, 8, 16, 112, 1, "uniform10"),
        "rspnet": (30, 64, 16, 112, 1, "uniform10"),
        "ctp": (150, 32, 16, 112, 2, "tsn_uniform"),
        "coclr": (500, 32, 32, 128, 1, "coclr_ten"),
        "severe": (16, 32, 32, 112, 1, "uniform10"),
        "videomae": (100, 128, 16, 224, 4, "dense5x3"),
        "benchmark": (100, 32, 16, 112, 1, "uniform10"),
        "sts": (25, 30, 16, 112, 1, "uniform10"),
        "mas": (18, 30, 16, 112, 1, "uniform10"),
        "child-view": (35, 16, 16, 224, 8, "mae_st_center"),
        "child-view-image": (35, 64, 1, 224, 1, "single_center"),
        "mae_st": (50, 128, 16, 224, 4, "mae_st_10x3"),
        "quick": (20, 8, 16, 112, 1, "uniform10"),
        "coclr_end2end": (100, 32, 32, 128, 1, "coclr_ten"),
    }
    falls = {name: p.schedule.milestones for name, p in presets.items() if p.schedule.milestones}
    assert falls == {
        "prp": (100,), "ctp": (60, 120), "coclr": (400, 450), "severe": (6, 10, 14), "coclr_end2end": (60, 80),
    }  # fmt: skip
    assert {name for name, p in presets.items() if p.aggregation == "mean_logits"} == {"vcop", "prp", "rspnet"}
    child = {"child-view", "child-view-image"}
    assert {name for name, p in presets.items() if p.choose == "least_loss"} == {"vcop", "prp", "rspnet"} | child
    assert (presets["ctp"].clip_grad, presets["ctp"].dropout, presets["coclr"].dropout) == (40, 0.5, 0.9)
    assert {name for name, p in presets.items() if not p.decay_vectors} == {
        "videomae",
        "mas",
        "mae_st",
        "quick",
    } | child
    assert (presets["severe"].clips, presets["severe"].rate, presets["severe"].schedule.gamma) == (10, 16, 0.3)


def groups_of(preset, encoder):
    classifier = Classifier(encoder, 2, preset)
    return {name: classifier.param_group(name, p) for name, p in classifier.named_parameters()}


def test_trunk_biases_and_vectors_have_factors_of_their_own():
    found = groups_of(replace(QUICK, trunk_lr=0.1, bias_lr=2.0, decay_vectors=False), untrained_net())
    assert found["head.2.weight"] == ParamGroup(1, 1) and found["head.2.bias"] == ParamGroup(2, 0)
    assert found["encoder.conv.weight"] == ParamGroup(0.1, 1) and found["encoder.norm.weight"] == ParamGroup(0.1, 0)
    assert found["encoder.conv.bias"] == ParamGroup(0.2, 0)
    assert set(groups_of(FINETUNE_PRESETS["vcop"], untrained_net()).values()) == {ParamGroup(1, 1)}


def test_the_rate_falls_from_block_to_block_of_a_transformer_and_of_nothing_else():
    found = groups_of(replace(QUICK, layer_decay=0.5), Blocks())
    rates = {name: group.lr for name, group in found.items() if not name.endswith("bias")}
    assert rates == {
        "encoder.position": 0.5**4,
        "encoder.patches.weight": 0.5**4,
        "encoder.blocks.0.weight": 0.5**3,
        "encoder.blocks.1.weight": 0.5**2,
        "encoder.blocks.2.weight": 0.5,
        "encoder.norm.weight": 1.0,
        "head.2.weight": 1.0,
    }
    assert found["encoder.blocks.0.bias"].lr == 0.5**3 and found["encoder.norm.bias"].lr == 1
    assert block_depths(untrained_net()) == {}
    assert "not applied" in finetune_card("x", replace(QUICK, layer_decay=0.5), untrained_net())["layer decay"]
    assert "layer decay" not in finetune_card("x", replace(QUICK, layer_decay=0.5), Blocks())


def test_position_tables_decay_where_vectors_do():
    for decays in (False, True):
        found = groups_of(replace(QUICK, decay_vectors=decays), Blocks())
        assert found["encoder.position"].weight_decay == found["encoder.norm.weight"].weight_decay == float(decays)
        assert found["encoder.patches.weight"].weight_decay == 1


def test_the_rate_is_as_written_or_in_proportion_to_the_batch(colours, split):
    def rate(**changes):
        return train(colours, split, replace(QUICK, epochs=1, **changes)).card["lr"]

    assert rate() == 1e-3 and rate(per=12) == pytest.approx(1e-3 * 3 / 12)
    # Nine training videos: a batch is never larger than what there is.
    assert rate(per=12, batch=64) == pytest.approx(1e-3 * 9 / 12)


def test_the_schedule_reaches_the_optimiser(colours, split):
    """A rate of a hundredth from the first step on must not move as far as the full one."""
    start = Classifier(untrained_net(), 3, QUICK).encoder.state_dict()["conv.weight"]
    ways = []
    for schedule in (ScheduleConfig("constant"), ScheduleConfig("step", milestones=(0,), gamma=0.01)):
        preset = replace(QUICK, schedule=schedule, optimiser=OptimiserConfig("sgd", 0.1))
        end = train(colours, split, preset).classifier.state_dict()["encoder.conv.weight"]
        ways.append(float((end - start).norm()))
    assert 0 < ways[1] < ways[0] / 20


def grouped(colours, count=7):
    """Twenty-one videos in three classes, all but the last scene for training."""
    rows = [{**colours.row(i), "split": "train" if i < 3 * (count - 1) else "test"} for i in range(21)]
    manifest = Manifest.from_rows(rows, colours.root)
    return manifest, make_split(manifest, group="scene")


def test_the_weights_with_the_least_held_out_loss_are_taken(colours):
    manifest, split = grouped(colours)
    # A rate that soon breaks what it learned.
    preset = replace(
        QUICK, choose="least_loss", epochs=6, optimiser=OptimiserConfig("sgd", 3.0), schedule=ScheduleConfig("constant")
    )
    card = train(manifest, split, preset).card
    losses = card["held-out losses"]
    assert len(losses) == 6 and card["chosen epoch"] == 1 + int(np.argmin(losses))
    assert card["held out"] == 3 and card["training videos"] == 15
    shorter = replace(preset, epochs=card["chosen epoch"])
    assert train(manifest, split, shorter).card["held-out losses"] == losses[: card["chosen epoch"]]
    end = train(manifest, split, replace(preset, choose="last")).card
    assert end["training videos"] == 18 and "held out" not in end


def test_validation_rows_choose_where_the_manifest_has_them(colours):
    rows = [{**colours.row(i), "split": ("train", "val", "test")[min(2, i // 9)]} for i in range(21)]
    manifest = Manifest.from_rows(rows, colours.root)
    card = train(manifest, make_split(manifest, group="scene"), replace(QUICK, choose="least_loss")).card
    assert (card["held out"], card["training videos"]) == (9, 9)


def test_clips_start_and_are_cropped_anywhere_that_fits(colours):
    rows = per_row(colours)
    length = len(rows.frames(0))
    planner = LabelledClips(replace(SMALL, stride=2), np.arange(21) * 10, QUICK)
    samples = [planner.plan(3, rows.take([0, 5, 9, 0]), Clock(0, 0, 0.0), numpy_generator(i)) for i in range(400)]
    clips = np.array([sample.reads["clip"].indices for sample in samples])
    assert set(clips[:, 0]) == set(range(length - 6)) and (np.diff(clips, axis=1) == 2).all()
    boxes = np.array([sample.draws["box"] for sample in samples])
    assert boxes.min(0).tolist() == [0, 0, 16, 16] and boxes.max(0).tolist() == [24 - 16, 32 - 16, 16, 16]
    assert planner.plan(1, rows.take([0, 5]), Clock(0, 0, 0.0), numpy_generator(0)).draws["label"] == 50
    assert not any(sample.draws["flip"] for sample in samples)
    mirrored = replace(planner, preset=replace(QUICK, flip=0.35))
    share = np.mean([mirrored.plan(0, rows, Clock(0, 0, 0), numpy_generator(i)).draws["flip"] for i in range(2000)])
    assert share == pytest.approx(0.35, abs=0.04)


def test_held_out_clips_are_the_middle_ones(colours):
    rows = per_row(colours)
    sample = LabelledClips(SMALL, np.arange(21)).plan(0, rows, Clock(0, 0, 0.0), numpy_generator(0))
    first = (len(rows.frames(0)) - 3) // 2
    assert sample.reads["clip"].indices.tolist() == list(range(first, first + 4))
    assert sample.draws["box"].tolist() == [4, 8, 16, 16]


def prepared(planner, batch):
    """What two planned clips of random bytes become; all other draws are the planner's."""
    return planner.prepare(batch, torch.Generator())


def planned(colours, preset, count=2):
    planner = LabelledClips(SMALL, np.arange(21) % 3, preset)
    plans = [planner.plan(0, per_row(colours), Clock(0, 0, 0.0), numpy_generator(i)) for i in range(count)]
    clip = torch.randint(0, 256, (count, 3, 4, 24, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return planner, {"clip": clip, **collate([plan.draws for plan in plans])}


def test_a_plain_crop_copies_pixels_and_mirrors_them(colours):
    planner, batch = planned(colours, replace(QUICK, flip=0.5), count=6)
    found = prepared(planner, batch)["clip"]
    assert found.dtype == torch.uint8 and 0 < int(batch["flip"].sum()) < 6
    for i, (top, left, height, width) in enumerate(batch["box"].tolist()):
        window = batch["clip"][i, :, :, top : top + height, left : left + width]
        assert torch.equal(found[i], window.flip(-1) if batch["flip"][i] else window)


def test_areas_are_drawn_and_resampled(colours):
    planner, batch = planned(colours, replace(QUICK, crop="area", area=(0.1, 0.2), ratio=(1.0, 1.0)), count=40)
    share = batch["box"][:, 2] * batch["box"][:, 3] / (24 * 32)
    assert 0.08 < share.min() < share.max() < 0.23 and len(set(share.tolist())) > 3
    assert prepared(planner, batch)["clip"].shape == (40, 3, 4, 16, 16)


def test_three_sizes_of_ctp_show_other_shares_of_the_frame(colours):
    preset = replace(FINETUNE_PRESETS["ctp"], native=True, sizes=((16, 22), (24, 32), (32, 40)), jitter=(0, 0, 0, 0))
    _, batch = planned(colours, preset, count=60)
    assert sorted({round(height, 6) for height in batch["box"][:, 2].tolist()}) == [12.0, 16.0, 24.0]


def test_colours_are_changed_and_stay_in_the_range_of_bytes(colours):
    planner, batch = planned(colours, replace(FINETUNE_PRESETS["severe"], native=True))
    found = prepared(planner, batch)["clip"]
    assert found.is_floating_point() and found.min() >= 0 and 100 < found.max() <= 255
    still = prepared(LabelledClips(SMALL, planner.labels, replace(planner.preset, jitter=(0, 0, 0, 0))), batch)["clip"]
    assert (found - still.float()).abs().mean() > 1
    # A tenth of a turn of hue leaves a grey clip grey: all three channels were meant.
    grey = prepared(planner, batch | {"clip": batch["clip"][:, :1].expand(-1, 3, -1, -1, -1)})["clip"]
    torch.testing.assert_close(grey[:, 0], grey[:, 2], atol=0.5, rtol=0)


def test_rand_augment_comes_before_the_crop_erasing_and_mixing_after_normalisation(colours):
    preset = replace(FINETUNE_PRESETS["videomae"], native=True, repeats=1, erasing=1.0, mixup=0.0)
    planner, batch = planned(colours, preset)
    ready = prepared(planner, batch)
    assert not torch.equal(
        ready["clip"], prepared(replace(planner, preset=replace(preset, rand_augment="")), batch)["clip"]
    )
    seen = []

    class Spy(Encoder):
        def __init__(self):
            super().__init__()
            self.input, self.feature_dim = SMALL, 3

        def forward(self, x, valid=None, taps=()):
            seen.append(x)
            return Features(x.mean((2, 3, 4)))

    classifier = Classifier(Spy(), 3, preset).eval()
    loss = classifier.losses(ready, classifier.phases[0])["loss"]
    normal = SMALL.normalise(ready["clip"])
    erased = Erasing(1.0).apply(normal, batch)
    mixing = Mixing(0.0, 1.0, smoothing=0.1)
    torch.testing.assert_close(seen[0], mixing.apply(erased, batch))
    assert not torch.equal(erased, normal) and not torch.equal(seen[0], erased)
    logits = classifier(seen[0])
    wanted = mixing.labels(batch["label"], batch, 3)
    torch.testing.assert_close(loss, -(wanted * logits.log_softmax(1)).sum(1).mean())


def test_smoothing_without_mixing(colours):
    classifier = Classifier(untrained_net(), 3, replace(QUICK, smoothing=0.1)).eval()
    _, batch = planned(colours, QUICK)
    clip = batch["clip"][..., :16, :16]
    logits = classifier(SMALL.normalise(clip))
    wanted = 0.9 * torch.eye(3)[batch["label"]] + 0.1 / 3
    loss = classifier.losses({"clip": clip, "label": batch["label"]}, classifier.phases[0])["loss"]
    torch.testing.assert_close(loss, -(wanted * logits.log_softmax(1)).sum(1).mean())


def test_the_input_is_the_presets_or_the_encoders_own():
    own = EncoderInput(frames=8, size=(64, 64), mean=(1, 2, 3), channels="bgr")
    shown = FINETUNE_PRESETS["severe"].input(own)
    assert (shown.frames, shown.rate, shown.size, shown.resize) == (32, 16, (112, 112), (128, 171))
    assert (shown.mean, shown.channels) == (own.mean, "bgr")
    assert overridden(FINETUNE_PRESETS["severe"], {"native": True}, "finetune").input(own) == own


def test_crops_stay_within_frames_of_their_own_size_and_short_videos_repeat_the_last_frame(colours, split):
    wide = untrained_net()
    wide.input = replace(SMALL, resize=(16, 16), frames=20)
    scores = finetuned_scores(train(colours, split, QUICK, encoder=wide), colours, split, READING)
    assert scores.clip[""].shape == (12, 1, 3)


def test_views_are_joined_by_logits_or_by_softmax(colours, split):
    views = replace(QUICK, views="uniform3")
    trained = train(colours, split, replace(views, optimiser=OptimiserConfig("sgd", 0.5)))
    soft = finetuned_scores(trained, colours, split, READING)
    np.testing.assert_allclose(soft.video[""], soft.clip[""].mean(1))
    trained.classifier.preset = replace(views, aggregation="mean_logits")
    plain = finetuned_scores(trained, colours, split, READING).video[""]
    assert plain.min() < 0
    # The mean of the logits is, but for a constant, that of the logarithms of their softmax.
    logs = np.log(soft.clip[""]).mean(1)
    np.testing.assert_allclose(plain - plain[:, :1], logs - logs[:, :1], atol=1e-4)


def test_broken_training_videos_are_refused_or_counted(colours, split, tmp_path):
    (tmp_path / "broken.mkv").write_bytes(b"no video")
    rows = [{**colours.row(i), "path": str(colours.path(i).resolve())} for i in range(21)]
    rows[4]["path"] = "broken.mkv"
    broken = Manifest.from_rows(rows, tmp_path)
    good = colours.video(0)

    class Half(Manifest):
        """Bounds of a whole file, frames of none: what a file looks like that breaks while it is read."""

        def bounds(self, i):
            return (0.0, float(good.duration)) if i == 4 else super().bounds(i)

    broken = Half(broken.table, tmp_path)
    with pytest.raises(DataError, match=r"broken\.mkv"):
        train(broken, split, QUICK)
    card = train(broken, split, QUICK, reading=replace(READING, skip_broken=True)).card
    assert card["training videos unread"] == 1


def test_a_training_that_breaks_down_is_counted_as_wrong(colours):
    settings = EvaluationSettings(
        ("finetune",), group="scene", pixels=False, extraction=READING,
        options={"finetune": {"epochs": 2, "batch": 3, "optimiser.name": "sgd", "lr": 1e30, "views": "single_center"}},
    )  # fmt: skip
    found = evaluate({"a": untrained_net()}, colours, settings)
    assert {row.value for row in found.rows if row.metric == "top1"} == {0.0}
    assert "learning rate" in found.rows[0].card["diverged"]
    with pytest.raises(TrainingDiverged):
        train(colours, make_split(colours, group="scene"), replace(QUICK, optimiser=OptimiserConfig("sgd", 1e30)))


def test_the_card_says_what_was_done(colours):
    options = {"finetune": {"epochs": 1, "batch": 3, "native": True, "views": "single_center"}}
    settings = EvaluationSettings(
        ("finetune:coclr", "linear:coclr_end2end"), group="scene", pixels=False, options=options, extraction=READING
    )
    found = evaluate({"a": untrained_net(), "untrained": untrained_net(1)}, colours, replace(settings, scratch=False))
    assert {(row.arm, row.protocol) for row in found.rows} == {("a", "finetune:coclr")} | {
        (arm, "linear:coclr_end2end") for arm in ("a", "untrained", "untrained-calibrated")
    }
    card = found.find(arm="a", protocol="finetune:coclr")[0].card
    assert (card["preset"], card["views"], card["aggregation"]) == ("finetune:coclr", "single_center", "mean_softmax")
    assert card["recipe"]["epochs"] == 1 and card["recipe"]["dropout"] == 0.9
    assert card["training input"]["frames"] == 4 and card["trained"] == "all weights"
    assert "batch in training" in card["BatchNorm"] and card["chosen"] == "last weights"
    assert found.find(protocol="linear:coclr_end2end")[0].card["trained"] == "the head"


def test_two_evaluations_that_train_give_identical_files(colours, tmp_path):
    quick = {"epochs": 1, "batch": 3, "views": "single_center", "crop": "area", "jitter": [0.1, 0.1, 0.1, 0.1]}
    settings = EvaluationSettings(
        ("finetune", "linear:severe", "episodes:3x1"), group="scene", pixels=False, calibrated=False,
        options={"finetune": quick, "linear": {"epochs": 2}}, extraction=READING,
    )  # fmt: skip
    for name, workers in (("a", 0), ("b", 2)):
        own = replace(settings, extraction=replace(READING, workers=workers))
        evaluate({"trained": untrained_net(1), "untrained": untrained_net()}, colours, own).write(tmp_path / name)
    for file in ("results.json", "predictions.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_overrides_are_typed_and_checked():
    changed = overridden(FINETUNE_PRESETS["vcop"], {"epochs": 3, "lr": 0.5, "size": [64, 64]}, "finetune")
    assert (changed.epochs, changed.optimiser.lr, changed.size) == (3, 0.5, (64, 64))
    assert (
        replace(changed, epochs=150, optimiser=FINETUNE_PRESETS["vcop"].optimiser, size=(112, 112))
        == FINETUNE_PRESETS["vcop"]
    )
    for wrong, message in (({"epochs": "many"}, "int"), ({"epoch": 3}, "'epochs'"), ({"epochs": 0}, "at least 1")):
        with pytest.raises(RecipeError, match=message):
            overridden(FINETUNE_PRESETS["vcop"], wrong, "finetune")
    with pytest.raises(RecipeError, match="dropout=2"):
        FineTune(dropout=2)
