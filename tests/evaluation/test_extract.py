import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import kinema.evaluation.reading as reading
from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation.extract import Extraction, FeatureTable, cache_path, encoder_digest, extract
from kinema.evaluation.views import PRESETS, clip_indices
from tests.evaluation.videos import SMALL, MeanColour, untrained_net, write_video


def manifest_of(path, **columns):
    return Manifest.from_rows([{"path": path.name, "label": "x", **columns}], path.parent)


def levels(encoder, manifest, **options):
    """Grey level of each view of the first video."""
    table = extract({"e": encoder}, manifest, Extraction(**options))["e"]
    assert table.pooled.dtype == np.float32
    return table.pooled[0, :, 0] * 255


@pytest.mark.parametrize("views", ["uniform10", "tsn_uniform", "dense5x3", "single_center"])
def test_every_view_shows_the_frames_of_its_preset(ramp, views):
    expected = 4 * clip_indices(PRESETS[views], 60, frames=4, stride=3).mean(1)
    crops = PRESETS[views].views // PRESETS[views].clips
    found = levels(MeanColour(replace(SMALL, stride=3)), manifest_of(ramp), views=views)
    np.testing.assert_allclose(found, expected.repeat(crops), atol=1)


def test_segments_and_sampled_rates_are_kept(ramp):
    encoder = MeanColour()
    # 0.8 to 1.2 s are frames 20 to 29.
    segment = levels(encoder, manifest_of(ramp, start=0.8, end=1.2), views="single_center")
    np.testing.assert_allclose(segment, 4 * np.mean([23, 24, 25, 26]), atol=1)
    # 5 fps shows every fifth frame: 12 in all, the middle four are 20, 25, 30, 35.
    slow = levels(MeanColour(replace(SMALL, rate=5.0)), manifest_of(ramp), views="single_center")
    np.testing.assert_allclose(slow, 4 * 27.5, atol=1)


def test_crops_lie_where_the_preset_says(tmp_path):
    ramp = np.broadcast_to(np.arange(96, dtype=np.uint8)[:, None] * 2, (6, 24, 96, 3))
    write_video(tmp_path / "wide.mkv", ramp)
    wide = manifest_of(tmp_path / "wide.mkv")
    # The short side of 24 is scaled to 16: the picture is 64 wide, the crops begin at 0, 24 and 48.
    found = levels(MeanColour(), wide, views="dense5x3")
    np.testing.assert_allclose(found[:3], [2 * 11.5, 2 * 47.5, 2 * 83.5], atol=3)
    ten = levels(MeanColour(), wide, views="10x10")[:10]
    np.testing.assert_allclose(ten[:5], ten[5:], atol=0.01)
    assert ten[0] < ten[4] < ten[1]


def test_mirrored_crops_are_mirrored(tmp_path):
    half = np.zeros((4, 24, 32, 3), np.uint8)
    half[:, :, 16:] = 250
    write_video(tmp_path / "half.mkv", half)
    table = extract({"e": MeanColour()}, manifest_of(tmp_path / "half.mkv"), Extraction("10x10", ("map",), True))["e"]
    maps = table.taps["map"][0].reshape(100, 3, 4, 8, 8)
    np.testing.assert_array_equal(maps[4], maps[9][..., ::-1])
    assert maps[4, 0, 0, 0, 0] < 0.1 < 0.9 < maps[4, 0, 0, 0, 7]


def test_an_image_encoder_sees_single_frames(ramp):
    class Still(MeanColour):
        def forward(self, x, valid=None, taps=()):
            assert x.ndim == 4
            return super().forward(x)

    found = levels(Still(replace(SMALL, modality="image")), manifest_of(ramp))
    np.testing.assert_allclose(found, 4 * clip_indices(PRESETS["uniform10"], 60, frames=1)[:, 0], atol=1)
    with pytest.raises(RecipeError, match="'audio'"):
        extract({"e": MeanColour(replace(SMALL, modality="audio"))}, manifest_of(ramp))


def test_encoders_are_left_as_they_were(colours):
    net = untrained_net().train()
    net.drop.eval()
    before = copy.deepcopy(net.state_dict())
    extract({"net": net}, colours)
    assert net.training and net.norm.training and not net.drop.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_batch_size_and_workers_do_not_change_features(colours):
    net, some = untrained_net(), colours.select(range(5))
    one = extract({"net": net}, some, Extraction(batch=3))["net"]
    for options in (Extraction(batch=64), Extraction(batch=3, workers=2)):
        other = extract({"net": net}, some, options)["net"]
        np.testing.assert_allclose(one.pooled, other.pooled, rtol=1e-5, atol=1e-6)
    assert one.rows.tolist() == [0, 1, 2, 3, 4]


def test_one_decode_serves_all_encoders_with_the_same_input(colours, monkeypatch):
    calls = []
    real = reading.read_frames
    monkeypatch.setattr(reading, "read_frames", lambda info, *rest: calls.append(info.path) or real(info, *rest))
    longer = MeanColour(replace(SMALL, frames=6))
    tables = extract({"a": MeanColour(), "b": untrained_net(), "c": longer}, colours.select(range(4)))
    assert len(calls) == 8
    assert list(tables) == ["a", "b", "c"] and tables["b"].pooled.shape == (4, 10, 8)


def test_taps_are_max_pooled_and_averaged_over_views_unless_all_are_kept(ramp):
    manifest = manifest_of(ramp)
    every = extract({"e": MeanColour()}, manifest, Extraction(taps=("map", "half"), every_view=True))["e"]
    mean = extract({"e": MeanColour()}, manifest, Extraction(taps=("map", "half")))["e"]
    assert every.taps["map"].shape == (1, 10, 3 * 4 * 8 * 8)
    np.testing.assert_allclose(mean.taps["map"], every.taps["map"].mean(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(every.feature("half"), every.feature("map") / 2, rtol=1e-5)
    with pytest.raises(RecipeError, match="no tap 'p9'; it has: half, map"):
        extract({"e": MeanColour()}, manifest, Extraction(taps=("p9",)))


def test_the_vcop_feature_is_a_max_pooled_map_of_9216_numbers(ramp):
    class Wide(MeanColour):
        def forward(self, x, valid=None, taps=()):
            self.last = torch.arange(512 * 2 * 7 * 7.0).view(1, 512, 2, 7, 7).expand(len(x), -1, -1, -1, -1)
            return super().forward(x)._replace(map=self.last)

    encoder = Wide()
    table = extract({"e": encoder}, manifest_of(ramp), Extraction("single_center", ("map",)))["e"]
    assert table.taps["map"].shape == (1, 1, 9216)
    slow = [encoder.last[0, c, t, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max() for c, t, i, j in np.ndindex(4, 2, 3, 3)]
    np.testing.assert_array_equal(table.taps["map"][0, 0, : len(slow)], slow)


def test_tokens_have_no_map_to_pool(ramp):
    class Tokens(MeanColour):
        def forward(self, x, valid=None, taps=()):
            return super().forward(x)._replace(map=torch.zeros(len(x), 5, 3))

    with pytest.raises(RecipeError, match="retrieval:benchmark"):
        extract({"e": Tokens()}, manifest_of(ramp), Extraction(taps=("map",)))


@pytest.fixture
def broken(colours, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rows = [{**colours.row(i), "path": str(colours.path(i).resolve())} for i in range(3)]
    rows.insert(1, {**rows[0], "path": "broken.mp4"})
    return Manifest.from_rows(rows, tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_video_stops_extraction_and_is_named(broken, workers):
    with pytest.raises(DataError, match=r"1 of 4 rows cannot be read:\n.*broken\.mp4: .+\n.*skip_broken"):
        extract({"e": MeanColour()}, broken, Extraction(workers=workers))


def test_a_broken_video_can_be_skipped_and_is_remembered(broken, tmp_path):
    options = Extraction(skip_broken=True, cache=tmp_path / "cache")
    for table in (extract({"e": MeanColour()}, broken, options)["e"] for _ in range(2)):
        assert table.rows.tolist() == [0, 2, 3] and len(table.pooled) == 3
        assert [skipped.row for skipped in table.skipped] == [1] and "broken.mp4" in table.skipped[0].reason
    with pytest.raises(DataError, match=r"broken\.mp4"):
        extract({"e": MeanColour()}, broken, replace(options, skip_broken=False))


def test_a_second_extraction_reads_the_cache(colours, tmp_path, monkeypatch):
    options, some = Extraction(cache=tmp_path, taps=("map",)), colours.select([3, 1])
    first = extract({"e": MeanColour()}, some, options)["e"]
    monkeypatch.setattr(reading, "read_frames", None)
    second = extract({"e": MeanColour()}, some, options)["e"]
    np.testing.assert_array_equal(first.pooled, second.pooled)
    np.testing.assert_array_equal(first.taps["map"], second.taps["map"])


def test_the_cache_tells_apart_what_changes_features(colours, tmp_path):
    net, options = untrained_net(), Extraction(cache=tmp_path)
    other = copy.deepcopy(net)
    other.norm.running_mean += 1
    faster = copy.deepcopy(net)
    faster.input = replace(SMALL, stride=2)
    places = [cache_path(encoder, colours, options) for encoder in (net, other, faster, untrained_net(1))]
    places += [cache_path(net, colours.select(range(5)), options)]
    places += [cache_path(net, colours, replace(options, views="tsn_uniform"))]
    places += [cache_path(net, colours, replace(options, taps=("map",)))]
    assert len(set(places)) == len(places)
    assert cache_path(copy.deepcopy(net), colours, replace(options, workers=3, batch=2)) == places[0]
    assert encoder_digest(net) == encoder_digest(untrained_net())


def test_a_damaged_cache_says_so(colours, tmp_path):
    options = Extraction(cache=tmp_path)
    extract({"e": MeanColour()}, colours.select([0]), options)
    place = cache_path(MeanColour(), colours.select([0]), options)
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(DataError, match="delete it"):
        extract({"e": MeanColour()}, colours.select([0]), options)


def test_a_table_keeps_chosen_rows():
    table = FeatureTable(np.array([0, 2, 5]), np.arange(6.0).reshape(3, 1, 2), {"map": np.ones((3, 1, 1))})
    kept = table.keep(np.array([2, 5, 9]))
    assert kept.rows.tolist() == [2, 5] and kept.pooled[:, 0, 0].tolist() == [2, 4] and len(kept.feature("map")) == 2
