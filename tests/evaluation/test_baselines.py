import copy
import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

import kinema.evaluation.pixels as pixels
import kinema.evaluation.reading as reading
from kinema.data.manifest import Manifest
from kinema.evaluation.baselines import calibrated
from kinema.evaluation.extract import Extraction, extract
from kinema.evaluation.measure import run_protocol
from kinema.evaluation.pixels import PIXEL_ARMS, frame_difference, mean_frame, motion_path, pixel_tables
from kinema.evaluation.protocols import PROTOCOLS
from kinema.evaluation.splits import make_split
from kinema.metrics import topk_accuracy
from tests.evaluation.videos import SMALL, MeanColour, TinyNet, grey_ramp, untrained_net, write_video


def moving_square(count, *, along):
    """A white 4 x 4 square on black, one pixel a frame to the right ("x") or down ("y")."""
    frames = np.zeros((count, 20, 20), np.float32)
    for t in range(count):
        row, column = (8, t) if along == "x" else (t, 8)
        frames[t, row : row + 4, column : column + 4] = 255
    return frames


def test_mean_frame_and_frame_difference_of_hand_cases():
    frames = np.stack([np.full((20, 20), level, np.float32) for level in (10, 30, 20)])
    assert set(mean_frame(frames)) == {20} and mean_frame(frames).shape == (400,)
    assert set(frame_difference(frames)) == {15}
    assert not frame_difference(frames[:1]).any()


def test_the_motion_path_follows_what_moves():
    x, y, spread_x, spread_y, total = motion_path(moving_square(15, along="x")).reshape(5, 16)
    # Changed columns at step t are t and t + 4: their centre is (t + 2.5) / 20.
    np.testing.assert_allclose(x, np.linspace(2.5, 15.5, 16) / 20, atol=1e-3)
    np.testing.assert_allclose(y, 0.5, atol=1e-3)
    np.testing.assert_allclose(spread_x, 2 / 20, atol=1e-3)
    np.testing.assert_allclose(spread_y, np.sqrt(1.25) / 20, atol=1e-3)
    np.testing.assert_allclose(total, np.log1p(8 * 255), rtol=1e-5)
    turned = motion_path(moving_square(15, along="y")).reshape(5, 16)
    np.testing.assert_allclose(turned[1], x, atol=1e-5)
    still = motion_path(np.full((1, 20, 20), 77, np.float32)).reshape(5, 16)
    np.testing.assert_allclose(still[:2], 0.5, atol=1e-6)
    assert not still[4].any()


def test_of_long_videos_the_middle_is_taken(ramp, monkeypatch):
    monkeypatch.setattr(pixels, "LIMIT", 10)
    manifest = Manifest.from_rows([{"path": ramp.name}], ramp.parent)
    # Frames 25 to 34 of 60, with the grey level 4 k.
    np.testing.assert_allclose(pixel_tables(manifest, Extraction())["pixels-mean-frame"].pooled, 4 * 29.5, atol=1)


def test_pixel_tables_are_cached_and_see_brightness_not_colour(colours, tmp_path):
    options = Extraction(cache=tmp_path)
    tables = pixel_tables(colours, options)
    assert list(tables) == list(PIXEL_ARMS)
    assert [table.pooled.shape for table in tables.values()] == [(21, 1, 400), (21, 1, 400), (21, 1, 80)]
    grey = tables["pixels-mean-frame"].pooled.mean((1, 2)).reshape(7, 3)
    np.testing.assert_allclose(grey, np.repeat(100 * (0.5 + 0.06 * np.arange(7))[:, None], 3, 1), atol=3)
    again = pixel_tables(colours, options)
    assert all(np.array_equal(again[name].pooled, tables[name].pooled) for name in PIXEL_ARMS)
    assert len(list(tmp_path.iterdir())) == 1


def test_frame_differences_of_real_actions_are_a_strong_reference(shared_data):
    """36 clips of four actions, one performer left out: the data's own notes say 0.95."""
    with (shared_data / "weizmann" / "labels.csv").open() as file:
        manifest = Manifest.from_rows(list(csv.DictReader(file)), shared_data / "weizmann")
    split = make_split(manifest, folds="performer")
    assert len(split.folds) == 9
    tables = pixel_tables(manifest, Extraction())
    measured = run_protocol(PROTOCOLS["linear"], tables["pixels-frame-difference"], split, 0)
    assert topk_accuracy(measured.scores.video[""], split.labels) == pytest.approx(95, abs=10)


def test_calibration_takes_the_statistics_of_the_clips_and_nothing_else(colours):
    net = untrained_net()
    before = copy.deepcopy(net.state_dict())
    twin = calibrated(net, colours, np.arange(21), batch=21, batches=1)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    features = extract({"raw": MeanColour()}, colours, Extraction("single_center", ("map",)))
    assert features["raw"].pooled.shape == (21, 1, 3)
    inputs = []
    hook = net.conv.register_forward_hook(lambda module, given, output: inputs.append(output))
    extract({"net": net}, colours, Extraction("single_center", batch=21))
    hook.remove()
    values = torch.cat(inputs)
    torch.testing.assert_close(twin.norm.running_mean, values.mean((0, 2, 3, 4)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(twin.norm.running_var, values.var((0, 2, 3, 4)), rtol=1e-4, atol=1e-5)
    changed = [name for name, value in twin.state_dict().items() if not torch.equal(before[name], value)]
    assert changed == ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    assert twin.norm.momentum == 0.1 and not any(part.training for part in twin.modules())


def test_calibration_uses_only_the_given_rows_in_whole_batches(colours):
    net = untrained_net()
    red = calibrated(net, colours, np.arange(0, 21, 3), batch=2)
    assert int(red.norm.num_batches_tracked) == 3
    assert int(calibrated(net, colours, np.arange(3), batch=16).norm.num_batches_tracked) == 1
    blue = calibrated(net, colours, np.arange(2, 21, 3), batch=2)
    assert not torch.allclose(red.norm.running_mean, blue.norm.running_mean, atol=1e-3)
    same = calibrated(net, colours, np.arange(0, 21, 3), batch=2)
    assert torch.equal(red.norm.running_mean, same.norm.running_mean)


def test_an_image_network_is_calibrated_on_single_frames(colours):
    class Still(TinyNet):
        def forward(self, x, valid=None, taps=()):
            assert x.ndim == 4
            return super().forward(x[:, :, None])

    still = Still(replace(SMALL, modality="image"))
    assert int(calibrated(still, colours, np.arange(4)).norm.num_batches_tracked) == 1


def test_calibration_is_cached(colours, tmp_path, monkeypatch):
    net, options = untrained_net(), Extraction(cache=tmp_path)
    first = calibrated(net, colours, np.arange(5), options)
    other = calibrated(net, colours, np.arange(6), options)
    monkeypatch.setattr(reading, "read_sizes", None)
    second = calibrated(net, colours, np.arange(5), options)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert not torch.equal(first.norm.running_mean, other.norm.running_mean)


def test_a_file_that_has_changed_is_calibrated_on_anew(tmp_path):
    manifest = Manifest.from_rows([{"path": "a.mkv"}], tmp_path)
    net, options = untrained_net(), Extraction(cache=tmp_path / "cache")
    write_video(tmp_path / "a.mkv", grey_ramp(8))
    first = calibrated(net, manifest, np.arange(1), options)
    write_video(tmp_path / "a.mkv", grey_ramp(12, step=20))
    second = calibrated(net, Manifest.from_rows([{"path": "a.mkv"}], tmp_path), np.arange(1), options)
    assert not torch.equal(first.norm.running_mean, second.norm.running_mean)


def test_a_network_without_batch_norm_has_nothing_to_calibrate(colours):
    assert calibrated(MeanColour(), colours, np.arange(3)) is None
