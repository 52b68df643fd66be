"""The attentive probe: its size, what it cannot see, and that it learns from single clips and across them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.errors import RecipeError
from kinema.evaluation import EvaluationSettings, Extraction, Results, evaluate
from kinema.evaluation.attending import AttentivePreset, Segments, attentive_scores, fit_attentive
from kinema.evaluation.attentive import AttentiveHead, heads_of
from kinema.evaluation.extract import extract
from kinema.evaluation.splits import Fold, Split
from kinema.modules.encoder import as_tokens
from tests.evaluation.videos import MeanColour, untrained_net

NONE = np.empty(0, np.int64)


def head(dim=8, classes=3, **options):
    torch.manual_seed(0)
    return AttentiveHead(dim, classes, heads=2, **options)


def test_the_published_size():
    assert sum(p.numel() for p in AttentiveHead(768, 400, heads=12).parameters()) == 7_396_240


def test_without_values_and_mlp_only_the_query_speaks():
    probe = head()
    with torch.no_grad():
        probe.to_key_value.weight[8:].zero_()
        probe.to_key_value.bias[8:].zero_()
        probe.mlp[2].weight.zero_()
        probe.mlp[2].bias.zero_()
        wanted = probe.linear(probe.query[0])
        torch.testing.assert_close(probe(torch.randn(5, 7, 8)), wanted.expand(5, -1))


def test_the_order_of_tokens_does_not_matter_but_their_values_do():
    probe, tokens = head(), torch.randn(4, 9, 8)
    torch.testing.assert_close(probe(tokens), probe(tokens[:, torch.randperm(9)]))
    assert (probe(tokens) - probe(tokens.flip(0))).abs().max() > 1e-5


def test_it_is_the_formula():
    """One head at a time, softmax by hand."""
    probe, x = head(), torch.randn(2, 5, 8)
    with torch.no_grad():
        normal = probe.token_norm(x)
        q = probe.to_query(probe.query).expand(2, 1, 8)
        k, v = probe.to_key_value(normal).split(8, dim=2)
        parts = []
        for part in (slice(0, 4), slice(4, 8)):
            weights = (q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(4)).softmax(-1)
            parts.append(weights @ v[..., part])
        attended = torch.cat(parts, 2)
        for applied in (False, True):
            probe.applies_projection = applied
            y = probe.query + (probe.projection(attended) if applied else attended)
            z = y + probe.mlp(probe.norm(y))
            torch.testing.assert_close(probe(x), probe.linear(z[:, 0]))


def test_initial_scales():
    probe = AttentiveHead(256, 400, heads=4)
    assert probe.to_query.weight.std().item() == pytest.approx(0.02, rel=0.05)
    for part in (probe.projection, probe.mlp[2]):
        assert part.weight.std().item() == pytest.approx(0.02 / math.sqrt(2), rel=0.05)
    assert not probe.linear.bias.any()


def test_heads_divide_the_dimensions():
    net = untrained_net()
    assert heads_of(net) == 1
    net.feature_dim = 512
    assert heads_of(net) == 8
    net.feature_dim = 200
    assert heads_of(net) == 2
    net.heads = 5
    assert heads_of(net) == 5
    with pytest.raises(RecipeError, match="divisor"):
        AttentiveHead(10, 2, heads=4)


def test_schedules_of_rate_and_decay():
    preset = AttentivePreset()
    assert preset.at(0.0) == (1e-3, 0.01)
    assert preset.at(0.5) == (pytest.approx(5e-4), pytest.approx((0.01 + 1e-6) / 2))
    assert preset.at(1.0) == (pytest.approx(0), pytest.approx(1e-6))


def test_maps_become_tokens():
    values = torch.arange(2 * 3 * 2 * 2 * 2).view(2, 3, 2, 2, 2)
    tokens = as_tokens(values)
    assert tokens.shape == (2, 8, 3) and tokens[1, 5].tolist() == values[1, :, 1, 0, 1].tolist()
    assert as_tokens(tokens) is tokens


def test_clips_are_joined_and_crops_stay_views():
    """Views are clips x crops, crops inside: 2 clips of 3 crops, token n of view v is 10 v + n."""
    tokens = (10.0 * np.arange(6)[:, None] + np.arange(2))[None, :, :, None].repeat(2, 0).astype(np.float32)
    single, joined = Segments(tokens), Segments(tokens, clips=2)
    assert (single.per_row, joined.per_row) == (6, 3)
    assert single.read(np.array([[1, 4]]))[0, :, 0].tolist() == [40, 41]
    assert joined.read(np.array([[0, 1]]))[0, :, 0].tolist() == [10, 11, 40, 41]
    assert joined.samples(np.array([1])).tolist() == [[1, 0], [1, 1], [1, 2]]


def planted(*, across):
    """One token of each video tells its class; across clips it does so in the first clip only."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    tokens = rng.normal(0, 0.1, (60, 4, 5, 8)).astype(np.float32)
    tokens[..., 7] += 3  # else LayerNorm would blow the noise of the others up
    where = rng.integers(0, 5, 60)
    for view in (0,) if across else range(4):
        tokens[np.arange(60), view, where, labels] += 6
    folds = (Fold("test", np.arange(30), np.arange(30, 60), NONE),)
    return tokens, Split("test", "", folds, tuple(map(str, range(60))), ("a", "b", "c"), labels)


QUICK = AttentivePreset(lr=1e-2, epochs=30, batch=8)


@pytest.mark.parametrize("across", [False, True])
def test_it_learns_and_repeats_itself(across):
    tokens, split = planted(across=across)
    segments = Segments(tokens, 4 if across else 1)
    one, other = (attentive_scores(segments, split, QUICK, heads=2, seed=0) for _ in range(2))
    assert (one.video[""].argmax(1) == split.labels[30:]).mean() > 0.95
    np.testing.assert_array_equal(one.video[""], other.video[""])
    assert (attentive_scores(segments, split, QUICK, heads=2, seed=1).video[""] != one.video[""]).any()
    if across:
        assert one.clip == {}
    else:
        np.testing.assert_allclose(one.video[""], one.clip[""].mean(1))


def test_folds_are_put_back_in_the_order_of_rows():
    tokens, split = planted(across=False)
    parts = (np.arange(0, 60, 2), np.arange(1, 60, 2))
    folds = tuple(Fold(str(i), np.sort(np.concatenate(parts[:i] + parts[i + 1 :])), parts[i], NONE) for i in (1, 0))
    found = attentive_scores(Segments(tokens), replace(split, folds=folds), QUICK, heads=2, seed=0)
    assert (found.video[""].argmax(1) == split.labels).mean() > 0.9


def test_no_decay_on_biases_norms():
    tokens, split = planted(across=False)
    probe = head()
    before = {name: p.detach().clone() for name, p in probe.named_parameters()}
    # A rate of nothing but decay: weights shrink, biases and norms stay.
    decaying = AttentivePreset(lr=1.0, weight_decay=0.5, final_weight_decay=0.5, epochs=1, batch=1000)
    for part in probe.parameters():
        part.register_hook(torch.zeros_like)
    fit_attentive(Segments(tokens), np.arange(30), split.labels, probe, preset=decaying, seed=0)
    for name, p in probe.named_parameters():
        # The projection, which is never applied, has no gradient and is not touched.
        factor = 1.0 if p.ndim < 2 or name.startswith("projection") else 0.5
        torch.testing.assert_close(p.detach(), factor * before[name])


def test_tokens_are_kept_in_files_and_the_encoder_stays_as_it_was(colours, tmp_path):
    net = untrained_net()
    options = Extraction("uniform2", ("map.tokens",), True, cache=tmp_path)
    table = extract({"net": net}, colours, options)["net"]
    assert table.taps["map.tokens"].shape == (21, 2, 4 * 16 * 16, 8)
    np.testing.assert_allclose(table.taps["map.tokens"].mean(2), table.pooled, atol=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_evaluation_with_attentive_probes(colours, tmp_path, workers):
    settings = EvaluationSettings(
        ("attentive", "attentive:across"), group="scene", pixels=False,
        options={"attentive": {"epochs": 8, "batch": 4, "lr": 0.003, "heads": 1}},
        extraction=Extraction("uniform2", workers=workers, cache=tmp_path / "cache" if workers else None),
    )  # fmt: skip
    found = evaluate({"a": MeanColour()}, colours, settings)
    card = found.find(protocol="attentive", level="video")[0].card
    assert (card["tokens"], card["heads"], card["feature dim"], card["views"]) == (1024, 1, 3, "uniform2")
    assert not found.find(protocol="attentive:across", level="clip")
    found.write(tmp_path / "one")
    evaluate({"a": MeanColour()}, colours, settings).write(tmp_path / "two")
    assert Results.read(tmp_path / "one").rows == Results.read(tmp_path / "two").rows
    with pytest.raises(RecipeError, match="no option is called"):
        evaluate({"a": MeanColour()}, colours, replace(settings, options={"attentive": {"epoch": 8}}))
