"""LV-MAE against its specification: sampling, masks, padding, the loss, and that it learns what can be learned."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from kinema.data.manifest import Manifest
from kinema.data.sample import Clock, collate
from kinema.errors import DataError, RecipeError
from kinema.methods.lv_mae import LVMAE, visible_segments
from kinema.methods.sequences import RawSequence, SequenceEncoder
from kinema.modules.transformer.positions import sincos
from kinema.randomness import numpy_generator
from kinema.targets.masking import Masking, neighbour_similarity, padded_masking, visible_count
from kinema.training.loop import pretrain
from kinema.training.recipe import load_recipe
from kinema.training.schedules import lr_factor
from kinema.training.stepper import Stepper
from tests.helpers import final_weights, journal, read_batch

D = 16
TINY = {
    "width": D,
    "depth": 2,
    "heads": 2,
    "decoder_width": 8,
    "decoder_depth": 2,
    "decoder_heads": 2,
    "tokens": 12,
}


def tiny(**options):
    torch.manual_seed(0)
    return LVMAE(**{**TINY, **options}).eval()


def sequences(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, D)).astype(np.float32) for n in lengths]


def prepared(method, arrays, seed=0):
    """The batch of whole sequences."""
    rng = np.random.default_rng(seed)
    samples = [
        {
            "segments": array,
            "order": np.arange(len(array)),
            "keep": np.array(visible_segments(len(array), method.ratio)),
            "noise": rng.random(len(array)).astype(np.float32),
        }
        for array in arrays
    ]
    return method.prepare(collate(samples), torch.Generator())


@torch.no_grad()
def loss_of(method, batch):
    return method.losses(batch, method.phases[0])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Sequences of 10, 4, 1, 30 and 2 segments, the first all different."""
    folder = tmp_path_factory.mktemp("sequences")
    rows = []
    for number, array in enumerate(sequences(10, 4, 1, 30, 2)):
        np.save(folder / f"{number}.npy", array)
        rows.append({"path": f"{number}.npy", "features": f"{number}.npy", "label": "ab"[number % 2]})
    return Manifest.from_rows(rows, folder)


# §9, 1: the table.


def test_the_table_of_places():
    method = tiny()
    table = method.encoder.trunk.positions()
    assert table[0].tolist() == [0.0] * 8 + [1.0] * 8
    # The class token stands on a row of zeros before it.
    whole = torch.cat([torch.zeros(1, 1024), sincos(torch.arange(256), 1024)])
    assert float(whole.double().sum()) == pytest.approx(80285.204, abs=0.01)
    rates = 10000.0 ** (-np.arange(8) / 8)
    for place in (1, 11):
        expected = np.concatenate([np.sin(place * rates), np.cos(place * rates)])
        np.testing.assert_allclose(table[place].numpy(), expected, atol=1e-6)


def test_the_class_token_has_no_place_and_hidden_vectors_are_not_seen():
    method = tiny()
    trunk = method.encoder.trunk
    seen = {}
    trunk.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    vectors = normalize(torch.randn(2, 5, D), dim=-1)
    trunk(vectors)
    assert torch.equal(seen["x"][0, 0], trunk.cls_token[0, 0])
    torch.testing.assert_close(seen["x"][:, 1:], vectors + trunk.positions()[:5])
    masking = Masking(torch.tensor([[0, 3]]), torch.tensor([[1, 2, 4]]))
    told = method.autoencoder(vectors[:1], masking)
    changed = vectors[:1].clone()
    changed[:, [1, 2, 4]] = 9.0
    assert torch.equal(method.autoencoder(changed, masking), told)


def test_the_published_size():
    with torch.device("meta"):
        method = LVMAE()
    counts = {name: p.numel() for name, p in method.autoencoder.named_parameters()}
    assert sum(n for name, n in counts.items() if name.startswith("encoder.trunk.blocks")) == 403_079_168
    assert sum(n for name, n in counts.items() if name.startswith("decoder.blocks")) == 25_219_072
    tables = 257 * (1024 + 512)
    assert sum(counts.values()) + tables == 429_747_712


# §9, 2: the loss.


def test_predicting_zero_costs_one_over_d_and_predicting_right_costs_nothing():
    method = tiny(masking="random")
    batch = prepared(method, sequences(12, 5, 9))
    hidden = batch["hidden"]
    right = batch["vectors"].gather(1, hidden.clamp(min=0)[..., None].expand(-1, -1, D))
    for predicted, expected in [(torch.zeros_like(right), 1 / D), (right, 0.0)]:
        method.autoencoder.forward = lambda vectors, masking, predicted=predicted: predicted
        assert float(loss_of(method, batch)["loss"]) == pytest.approx(expected, abs=1e-7)
        # What stands behind the end of a sequence counts for nothing.
        noisy = predicted.clone()
        noisy[hidden < 0] = 1e3
        method.autoencoder.forward = lambda vectors, masking, noisy=noisy: noisy
        found = loss_of(method, batch)
        assert float(found["loss"]) == pytest.approx(expected, abs=1e-7)
        assert float(found["weight"]) == sum(n - n // 2 for n in (12, 5, 9))
    assert float(found["parts"]["zero"]) == pytest.approx(1 / D)
    assert float(found["parts"]["cosine"]) == pytest.approx(1.0, abs=1e-6)


def test_the_loss_is_that_of_a_slow_calculation():
    for options in ({}, {"loss": "cosine"}, {"standardised": True}, {"average": "video"}):
        method = tiny(masking="random", ratio=0.6, **options)
        batch = prepared(method, sequences(12, 4, 7))
        masking = Masking(batch["kept"], batch["hidden"])
        with torch.no_grad():
            predicted = method.autoencoder(batch["vectors"], masking).double().numpy()
        per_video = []
        for b in range(3):
            errors = []
            for j, place in enumerate(masking.hidden[b].tolist()):
                if place < 0:
                    continue
                target = batch["vectors"][b, place].double().numpy()
                if options.get("standardised"):
                    target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
                told = predicted[b, j]
                if options.get("loss") == "cosine":
                    errors.append(1 - told @ target / np.linalg.norm(told) / np.linalg.norm(target))
                else:
                    errors.append(((told - target) ** 2).sum() / (1 if options.get("average") == "video" else D))
            per_video.append(errors)
        if options.get("average") == "video":
            expected, weight = np.mean([np.mean(errors) for errors in per_video]), 3
        else:
            expected, weight = np.mean(np.concatenate(per_video)), sum(map(len, per_video))
        found = loss_of(method, batch)
        assert float(found["loss"]) == pytest.approx(expected, rel=1e-5)
        assert float(found["weight"]) == weight


def test_parts_of_a_batch_join_into_the_whole():
    for average in ("batch", "video"):
        method, arrays = tiny(average=average), sequences(12, 4, 7)
        whole = loss_of(method, prepared(method, arrays))
        parts = [loss_of(method, prepared(method, arrays[k : k + 1])) for k in range(3)]
        total = sum(float(part["loss"]) * float(part["weight"]) for part in parts)
        assert total / float(whole["weight"]) == pytest.approx(float(whole["loss"]), rel=1e-5)
        assert sum(float(part["weight"]) for part in parts) == float(whole["weight"])


# §9, 3 and 4: padding.


def test_longer_tables_and_longer_neighbours_change_nothing():
    short, long = tiny(), tiny(tokens=20)
    long.load_state_dict(short.state_dict())
    arrays = sequences(12, 5, 9)
    batch = prepared(short, arrays)
    alone = [float(loss_of(short, prepared(short, [array]))["loss"]) for array in arrays]
    assert float(loss_of(long, batch)["loss"]) == pytest.approx(float(loss_of(short, batch)["loss"]), rel=1e-6)
    padded = prepared(long, [*arrays, *sequences(20, seed=1)])
    with torch.no_grad():
        for k, array in enumerate(arrays):
            own = short.encoder(torch.from_numpy(array)[None])
            together = long.encoder(padded["vectors"][:3], (torch.arange(20) < padded["lengths"][:3, None]))
            torch.testing.assert_close(together.map[k, : len(array)], own.map[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(together.pooled[k], own.pooled[0], atol=1e-5, rtol=1e-4)
    # Loss of each sequence as it is alone, when the others are there.
    for k, expected in enumerate(alone):
        only = {**padded, "hidden": torch.where(torch.arange(4)[:, None] == k, padded["hidden"], -1)}
        assert float(loss_of(long, only)["loss"]) == pytest.approx(expected, rel=1e-4)


# §9, 5: semantic masks.


@pytest.fixture(scope="module")
def two_scenes():
    """a a a b b b with cos(a, b) < 0."""
    a = np.zeros(D, np.float32)
    a[0], a[1] = 2.0, 1.0
    b = np.roll(a, 3) - 0.5 * a
    return np.stack([a, a, a, b, b, b])


def test_semantic_masks_go_either_way(two_scenes):
    scores = neighbour_similarity(torch.from_numpy(two_scenes)[None])[0]
    assert scores[[0, 1, 2, 4, 5]].tolist() == pytest.approx([0, 1, 1, 1, 1]) and scores[3] < 0
    paper, code = tiny(hide="low_similarity", ratio=1 / 6), tiny(hide="high_similarity", ratio=0.5)
    batch = prepared(paper, [two_scenes])
    assert batch["hidden"].tolist() == [[3]] and batch["kept"].tolist() == [[0, 1, 2, 4, 5]]
    # Of equal similarities the earlier ones come first; noise plays no part.
    assert prepared(code, [two_scenes])["kept"].tolist() == [[0, 1, 3]]
    assert prepared(code, [two_scenes], seed=9)["kept"].tolist() == [[0, 1, 3]]
    assert prepared(tiny(ratio=0.5), [two_scenes], seed=9)["hidden"].tolist() == [[0, 1, 3]]
    for ratio in (0.2, 0.4, 0.6):
        kept = prepared(tiny(hide="high_similarity", ratio=ratio), [two_scenes])["kept"][0].tolist()
        assert 3 in kept and 0 in kept


def test_padded_masks_are_those_of_each_sequence_alone():
    rng = torch.Generator().manual_seed(0)
    for ratio in (0.1, 0.3, 0.5, 0.7, 0.9):
        lengths = torch.randint(2, 40, (16,), generator=rng)
        noise = torch.rand(16, int(lengths.max()), generator=rng)
        keep = torch.tensor([visible_segments(n, ratio) for n in lengths.tolist()])
        most = visible_segments(int(lengths.max()), ratio)
        for high in (False, True):
            found = padded_masking(noise, lengths, keep, sizes=(most, noise.shape[1] - most), high=high)
            for b, n in enumerate(lengths.tolist()):
                order = noise[b, :n].argsort(stable=True).tolist()
                k = int(keep[b])
                seen = order[n - k :] if high else order[:k]
                assert [p for p in found.kept[b].tolist() if p >= 0] == sorted(seen)
                assert [p for p in found.hidden[b].tolist() if p >= 0] == sorted(set(range(n)) - set(seen))


# §9, 6, 7: lengths and order of vectors.


def test_lengths_of_vectors_do_not_matter():
    for options in ({}, {"masking": "random", "standardised": True}):
        method, arrays = tiny(**options), sequences(12, 5)
        loss = loss_of(method, prepared(method, arrays))["loss"]
        scaled = loss_of(method, prepared(method, [3 * array for array in arrays]))["loss"]
        assert float(scaled) == pytest.approx(float(loss), rel=1e-5)
        x = torch.from_numpy(arrays[0])[None]
        with torch.no_grad():
            torch.testing.assert_close(method.encoder(3 * x).pooled, method.encoder(x).pooled)


def test_visible_vectors_keep_their_places_in_whatever_order_they_come():
    method = tiny(masking="random")
    batch = prepared(method, sequences(12, 12))
    loss = float(loss_of(method, batch)["loss"])
    order = torch.randperm(6)
    assert float(loss_of(method, {**batch, "kept": batch["kept"][:, order]})["loss"]) == pytest.approx(loss, rel=1e-5)
    order = torch.randperm(6)
    assert float(loss_of(method, {**batch, "hidden": batch["hidden"][:, order]})["loss"]) == pytest.approx(
        loss, rel=1e-5
    )
    moved = {**batch, "kept": (batch["kept"] + 1) % 12}
    assert abs(float(loss_of(method, moved)["loss"]) - loss) > 1e-6


# §9, 9 and 10: numbers of visible segments, learning rates.


def test_how_many_stay_visible():
    published = [visible_count(10, ratio) for ratio in (0.5, 0.4, 0.7, 0.9)]
    assert published == [5, 6, 3, 0]
    assert [visible_segments(10, ratio) for ratio in (0.5, 0.4, 0.7, 0.9)] == [5, 6, 3, 1]
    assert visible_segments(2, 0.7) == 1 and visible_segments(2, 0.1) == 1


def test_learning_rates_as_published():
    recipe = load_recipe("lv-mae", "paper")
    assert recipe.optimiser.lr == 1e-3 * 128 / 256 and recipe.batch == 128
    per_epoch, epochs = 1000, 151
    assert recipe.epochs == epochs
    for epoch, expected in [(20, 2.5e-4), (40, 5e-4), (95.5, 2.5e-4)]:
        factor = lr_factor(recipe.schedule, int(epoch * per_epoch), per_epoch, epochs * per_epoch)
        assert recipe.optimiser.lr * factor == pytest.approx(expected, rel=1e-3)
    method = tiny()
    groups = {name: method.param_group(name, p).weight_decay for name, p in method.named_parameters()}
    assert (
        groups["autoencoder.encoder.trunk.blocks.0.mlp.fc1.bias"] == 0
        and groups["autoencoder.encoder.trunk.blocks.0.mlp.fc1.weight"] == 1
    )


# §9, 12: sampling.


def draw(method, index, i, count=200):
    clock = Clock(0, 0, 0.0)
    return [method.plan(i, index, clock, numpy_generator("lv-mae", key)) for key in range(count)]


def test_stretches_are_drawn_as_published(manifest):
    method = tiny(shortest=25, tokens=5)
    index = method.index(manifest)
    assert index.rows.tolist() == [0, 1, 3, 4] and index.short == 1
    plans = draw(method, index, 0)
    assert {plan.reads["segments"].stop - plan.reads["segments"].start for plan in plans} == {5}
    assert {plan.reads["segments"].start for plan in plans} == set(range(6))
    assert {tuple(plan.draws["order"]) for plan in plans} == {(0, 1, 2, 3, 4)}


def test_short_videos_are_shown_three_times(manifest):
    method = tiny(shortest=25)
    index = method.index(manifest)
    orders = {tuple(plan.draws["order"]) for plan in draw(method, index, 1)}
    assert (0, 1, 2, 3) * 3 in orders and all(len(order) == 12 for order in orders)
    assert {int(plan.draws["keep"]) for plan in draw(method, index, 1, 20)} == {6}
    # Durations of 10 to 60 whole seconds: 2 to 12 segments, 12 only from 60 seconds on.
    lengths = [len(plan.draws["order"]) for plan in draw(tiny(), tiny().index(manifest), 2, 2000)]
    counts = np.bincount(lengths, minlength=13)
    assert set(lengths) == set(range(2, 13))
    assert counts[2:12].min() > 130 and 15 < counts[12] < 75


def test_what_is_repeated_is_read_once(manifest):
    method = tiny(masking="random", shortest=60)
    batch = read_batch(method, method.index(manifest), (1, 3))
    assert batch["lengths"].tolist() == [12, 6] and batch["vectors"].shape == (2, 12, D)
    vectors = batch["vectors"][0]
    torch.testing.assert_close(vectors[:4], vectors[8:])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(12))
    assert batch["vectors"][1, 6:].abs().sum() == 0
    assert torch.from_numpy(np.load(manifest.file(1, "features"))[2]).allclose(
        vectors[2] * np.linalg.norm(np.load(manifest.file(1, "features"))[2]), atol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.0}, "ratio=1"),
        ({"tokens": 1}, "two tokens"),
        ({"shortest": 99}, "shortest=99"),
        ({"heads": 3}, "heads=3"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        tiny(**options)


def test_vectors_of_another_width_are_refused_with_the_option(manifest):
    with pytest.raises(RecipeError, match="have 16 numbers: set width=16"):
        tiny(width=32).index(manifest)
    with pytest.raises(DataError, match="no video has the 50 segments of a sample; the longest has 30"):
        tiny(ratio=0.98).index(manifest)


# The product.


def test_long_sequences_are_cut_into_windows_or_truncated():
    method = tiny()
    x = torch.from_numpy(sequences(30)[0])[None]
    with torch.no_grad():
        windows = [method.encoder(x[:, k : k + 12]) for k in (0, 12, 24)]
        joined = method.encoder(x)
        torch.testing.assert_close(joined.map, torch.cat([w.map for w in windows], 1))
        torch.testing.assert_close(joined.pooled, joined.map.mean(1))
        front = torch.stack([w.extra["tokens"][:, 0] for w in windows]).mean(0)
        torch.testing.assert_close(joined.extra["tokens"][:, 0], front)
        cut = SequenceEncoder(method.encoder.trunk, long="truncate")(x)
        torch.testing.assert_close(cut.pooled, windows[0].pooled)
        # In a batch, a sequence that ends before the last windows knows nothing of them.
        both = torch.cat([x, torch.nn.functional.pad(x[:, :7], (0, 0, 0, 23), value=5.0)])
        valid = torch.arange(30) < torch.tensor([[30], [7]])
        together, alone = method.encoder(both, valid, taps=("b1",)), method.encoder(x[:, :7], taps=("b1",))
        torch.testing.assert_close(together.pooled[1], alone.pooled[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.extra["tokens"][1, :8], alone.extra["tokens"][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.extra["b1"][1, :8], alone.extra["b1"][0], atol=1e-5, rtol=1e-4)


def test_the_raw_sequence_is_the_mean_of_its_vectors():
    x = torch.from_numpy(np.stack(sequences(6, 6)))
    valid = torch.arange(6) < torch.tensor([[6], [4]])
    found = RawSequence(D)(x, valid)
    torch.testing.assert_close(found.pooled[1], normalize(x[1, :4], dim=1).mean(0))
    assert found.extra["tokens"].shape == (2, 7, D) and found.extra["tokens"][1, 5:].abs().sum() == 0


# Training.


def test_a_run_on_sequences_trains_and_comes_back(manifest, tmp_path):
    options = {f"options.{name}": value for name, value in TINY.items()}
    settings = {"epochs": 3, "batch": 4, "workers": 0, "device": "cpu", "validation": 0.25}
    recipe = load_recipe("lv-mae", "tiny", {**options, **settings})
    run = pretrain(recipe, manifest, tmp_path / "run", quiet=True)
    steps = journal(tmp_path / "run", "step")
    assert len(steps) == 3 and all(np.isfinite(step["loss"]) for step in steps)
    assert journal(tmp_path / "run", "validation")
    assert run.products().encoders.keys() == {"sequence"} and run.products().predictors.keys() == {"segments"}
    assert any(name.startswith("autoencoder.encoder.trunk") for name in final_weights(tmp_path / "run"))


def learned(vectors, steps):
    """Loss x d over the last steps of training on batches of 32 unit sequences of 12."""
    method = tiny(masking="random", ratio=0.5).train()
    settings = {"optimiser.lr": 3e-3, "schedule.name": "constant", "schedule.warmup": 0, "clip_grad": None}
    options = {f"options.{name}": value for name, value in TINY.items()}
    recipe = load_recipe("lv-mae", "tiny", {**options, **settings, "device": "cpu"})
    stepper = Stepper(method, recipe, torch.device("cpu"))
    losses = [
        float(stepper.step([prepared(method, vectors(step), seed=step)], step, 3e-3).loss) for step in range(steps)
    ]
    return losses[0] * D, float(np.mean(losses[-20:])) * D


def test_what_moves_along_a_path_is_learned_and_chance_is_not():
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(D, 2)))[0].T

    def rotating(step):
        rng = np.random.default_rng(step)
        angles = rng.uniform(0, 2 * np.pi, (32, 1)) + rng.uniform(0.2, 0.6, (32, 1)) * np.arange(12)
        return list((np.stack([np.cos(angles), np.sin(angles)], -1) @ plane).astype(np.float32))

    def independent(step):
        return list(np.random.default_rng(step).normal(size=(32, 12, D)).astype(np.float32))

    # How long the plateau at 1 / d lasts depends on the first weights: 250 to 350 steps.
    first, last = learned(rotating, 400)
    assert first > 1 and last < 0.35
    assert 0.9 < learned(independent, 200)[1] < 1.1
