import copy
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import kinema.evaluation.reading as reading
from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation.extract import Extraction, FeatureTable, encoder_digest, extract, extract_all
from kinema.evaluation.pixels import PixelReader, pixel_tables, split_references
from kinema.evaluation.store import PRECISIONS
from kinema.evaluation.taking import row_keys
from kinema.evaluation.views import PRESETS, clip_indices
from kinema.video.decode import read_frames
from tests.evaluation.videos import SMALL, MeanColour, TinyNet, untrained_net, write_video


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


@pytest.fixture
def decodes(monkeypatch):
    """The files that are decoded, one entry for each time."""
    calls = []
    real = reading.read_sizes
    monkeypatch.setattr(reading, "read_sizes", lambda info, wanted: calls.append(info.path) or real(info, wanted))
    return calls


def test_one_decode_serves_all_encoders_views_taps_and_references(colours, decodes):
    some = colours.select(range(4))
    encoders = {"a": MeanColour(), "b": untrained_net(), "c": MeanColour(replace(SMALL, frames=6, size=(12, 12)))}
    plans = [Extraction(), Extraction("sliding", ("map", "map.mean")), Extraction("10x3"), Extraction("single_center")]
    taken = extract_all(encoders, some, plans, direct={"pixels": PixelReader()})
    assert len(decodes) == 4
    assert [list(tables) for tables in taken.plans] == [["a", "b", "c"]] * 4
    assert [tables["b"].pooled.shape for tables in taken.plans] == [(4, n, 8) for n in (10, 1, 30, 1)]
    for plan, tables in zip(plans, taken.plans, strict=True):
        for name, encoder in encoders.items():
            alone = extract({name: encoder}, some, plan)[name]
            np.testing.assert_allclose(tables[name].pooled, alone.pooled, rtol=1e-5, atol=1e-6)
            assert tables[name].taps.keys() == alone.taps.keys()
    np.testing.assert_array_equal(
        split_references(taken.direct["pixels"])["pixels-motion-path"].pooled,
        pixel_tables(some, Extraction())["pixels-motion-path"].pooled,
    )


def test_windows_of_a_video_are_averaged_whatever_their_number(colours):
    table = extract({"e": MeanColour()}, colours, Extraction("sliding", ("map.mean",), True))["e"]
    assert table.joined and table.pooled.shape == table.taps["map.mean"].shape == (21, 1, 3)
    np.testing.assert_allclose(table.pooled, table.taps["map.mean"], rtol=1e-5)
    row = int(np.argmax([colours.video(i).frames for i in range(21)]))
    frames = np.arange(colours.video(row).frames)
    starts = range(0, len(frames) - 3, 2)
    clips = [colours_of(colours, row, frames[start : start + 4]) for start in starts]
    np.testing.assert_allclose(table.pooled[row, 0], np.mean(clips, 0), atol=1e-5)


def colours_of(manifest, row, frames):
    """Mean colour of the centre crop of some frames."""
    decoded = read_frames(manifest.video(row), frames, SMALL.resize)
    return decoded[:, 4:20, 8:24].mean((0, 1, 2)) / 255


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


def test_a_second_extraction_decodes_nothing(colours, tmp_path, decodes):
    options, some = Extraction(cache=tmp_path, taps=("map",)), colours.select([3, 1])
    first = extract({"e": MeanColour()}, some, options)["e"]
    assert len(decodes) == 2
    second = extract({"e": MeanColour()}, some, options)["e"]
    turned = extract({"e": MeanColour()}, some.select([1, 0, 1]), options)["e"]
    assert len(decodes) == 2
    np.testing.assert_array_equal(first.pooled, second.pooled)
    np.testing.assert_array_equal(first.taps["map"], second.taps["map"])
    np.testing.assert_array_equal(turned.taps["map"], first.taps["map"][[1, 0, 1]])
    assert isinstance(second.taps["map"], np.memmap)


def test_only_what_is_new_is_decoded(colours, tmp_path, decodes):
    options = Extraction(cache=tmp_path)
    net, other = untrained_net(), untrained_net(1)
    extract({"e": net}, colours.select([0, 1]), options)
    grown = extract({"e": net}, colours.select([0, 2, 1, 3]), options)["e"]
    assert len(decodes) == 4
    fresh = extract({"e": net}, colours.select([0, 2, 1, 3]), Extraction())["e"]
    np.testing.assert_allclose(grown.pooled, fresh.pooled, rtol=1e-5, atol=1e-6)
    del decodes[:]
    # Another tap, other weights, other views: each needs these two videos again.
    for encoder, more in ((net, {"taps": ("map",)}), (other, {}), (net, {"views": "single_center"})):
        extract({"e": encoder}, colours.select([0, 1]), replace(options, **more))
    assert len(decodes) == 6
    moved = copy.deepcopy(net)
    moved.norm.running_mean += 1
    faster = copy.deepcopy(net)
    faster.input = replace(SMALL, stride=2)
    for encoder in (moved, faster):
        extract({"e": encoder}, colours.select([0]), options)
    assert len(decodes) == 8
    extract({"e": copy.deepcopy(net)}, colours.select([0, 1]), replace(options, batch=2))
    assert len(decodes) == 8
    assert encoder_digest(net) == encoder_digest(untrained_net())


class Hidden(TinyNet):
    """What it does depends on a buffer that is not stored, and on a plain number."""

    def __init__(self, table: float, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("table", torch.tensor(table), persistent=False)


def test_the_digest_knows_unstored_buffers_and_plain_settings():
    def digest(table, heads):
        torch.manual_seed(0)
        return encoder_digest(Hidden(table, heads))

    assert digest(1.0, 2) == digest(1.0, 2)
    assert len({digest(1.0, 2), digest(3.0, 2), digest(1.0, 4)}) == 3
    net = untrained_net()
    assert encoder_digest(net.train()) == encoder_digest(net.eval())


def test_features_belong_to_the_content_of_the_file_and_its_segment(colours, ramp, tmp_path, decodes):
    shutil.copy(ramp, tmp_path / "copy.mkv")
    rows = [{"path": str(ramp), "hash": "x"}, {"path": "copy.mkv", "hash": "x"}]
    rows += [{"path": str(ramp), "hash": "x", "start": 0.0, "end": 1.0}, {"path": str(ramp), "hash": "y"}]
    manifest = Manifest.from_rows(rows, tmp_path)
    keys = row_keys(manifest)
    assert keys[0] == keys[1] and len(set(keys)) == 3
    table = extract({"e": MeanColour()}, manifest, Extraction(cache=tmp_path / "cache"))["e"]
    assert len(decodes) == 3 and table.rows.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(table.pooled[0], table.pooled[1])
    assert table.pooled[2, -1, 0] < table.pooled[0, -1, 0]
    rated = Manifest.from_rows([{"path": "frames", "hash": "x", "fps": fps} for fps in (10.0, 25.0)], tmp_path)
    assert len(set(row_keys(rated))) == 2
    unscanned = Manifest.from_rows([{"path": "copy.mkv"}], tmp_path)
    before = row_keys(unscanned)
    os.utime(tmp_path / "copy.mkv", ns=(1, 1))
    assert row_keys(unscanned) != before


def test_an_interrupted_extraction_keeps_what_it_finished(colours, tmp_path, decodes):
    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    options = Extraction("single_center", cache=tmp_path, batch=1)
    with pytest.raises(KeyboardInterrupt):
        extract({"e": MeanColour()}, colours.select(range(8)), options, progress=stop)
    before = len(decodes)
    extract({"e": MeanColour()}, colours.select(range(8)), options)
    assert len(decodes) - before == 5


def test_half_precision_takes_half_the_room_and_is_nearly_the_same(colours, tmp_path):
    some = colours.select(range(3))
    half, full = (
        extract({"e": MeanColour()}, some, Extraction(cache=tmp_path, precision=p))["e"] for p in PRECISIONS[::-1]
    )
    assert (half.pooled.dtype, full.pooled.dtype) == (np.float16, np.float32)
    np.testing.assert_allclose(half.pooled, full.pooled, rtol=1e-3)
    with pytest.raises(RecipeError, match="'float8'"):
        Extraction(precision="float8")


def test_broken_weights_are_named(colours):
    net = untrained_net()
    net.norm.running_mean.fill_(torch.nan)
    with pytest.raises(DataError, match="'mine' yields features that are not finite"):
        extract({"mine": net}, colours.select([0]))


def test_a_damaged_cache_says_so(colours, tmp_path):
    options = Extraction(cache=tmp_path)
    extract({"e": MeanColour()}, colours.select([0]), options)
    (place,) = tmp_path.glob("*/part-*.npy")
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(DataError, match="delete it"):
        extract({"e": MeanColour()}, colours.select([0]), options)


def test_a_table_keeps_chosen_rows():
    table = FeatureTable(np.array([0, 2, 5]), np.arange(6.0).reshape(3, 1, 2), {"map": np.ones((3, 1, 1))})
    kept = table.keep(np.array([2, 5, 9]))
    assert kept.rows.tolist() == [2, 5] and kept.pooled[:, 0, 0].tolist() == [2, 4] and len(kept.feature("map")) == 2
