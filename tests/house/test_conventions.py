"""What docs/conventions.md says, where no other test pins it."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from kinema.data.index import Index
from kinema.data.loading import Request, RequestReader
from kinema.data.manifest import Manifest
from kinema.data.reading import execute
from kinema.data.sample import Clock, Frames, Ragged, Sample, Times, collate
from kinema.metrics import hit_at_k, topk_accuracy
from kinema.modules.encoder import EncoderInput
from kinema.randomness import key_entropy, numpy_generator
from kinema.video.flow import compute_flow, decode_flow, encode_flow

HEIGHT, WIDTH, FRAMES, RATE = 32, 48, 12, 10


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """One lossless video at 10 fps whose first time stamp is 5 s: left red, right blue, frame k with green 20 k."""
    import av

    folder = tmp_path_factory.mktemp("conventions")
    with av.open(str(folder / "video.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"
        for number in range(FRAMES):
            frame = np.full((HEIGHT, WIDTH, 3), 20 * number, np.uint8)
            frame[:, : WIDTH // 2, 0], frame[:, WIDTH // 2 :, 0] = 255, 0
            frame[:, : WIDTH // 2, 2], frame[:, WIDTH // 2 :, 2] = 0, 255
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")
            picture.pts, picture.time_base = number + 5 * RATE, Fraction(1, RATE)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return Manifest.from_rows([{"path": "video.mkv", "label": "walk"}], folder)


def numbers_of(clip):
    """Which frames of the video a clip [3, T, H, W] holds."""
    return (clip[1, :, 0, 0].astype(int) // 20).tolist()


def test_a_batch_of_clips_is_channels_time_height_width():
    clip = torch.zeros(2, 3, 4, 5, 6, dtype=torch.uint8)
    clip[:, 0], clip[:, 1], clip[:, 2] = 10, 20, 30
    wanted = EncoderInput(mean=(10, 20, 30), std=(1, 1, 1), scale=255.0)
    assert torch.equal(wanted.normalise(clip), torch.zeros(2, 3, 4, 5, 6))


def test_normalise_maps_white_to_scale():
    white = torch.full((1, 3, 1, 1, 1), 255, dtype=torch.uint8)
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    assert EncoderInput(**plain).normalise(white).unique().tolist() == [1.0]
    assert EncoderInput(**plain, scale=255.0).normalise(white).unique().tolist() == [255.0]


def test_bgr_is_a_matter_of_the_encoder_alone():
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1, 1)
    wanted = EncoderInput(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channels="bgr")
    assert wanted.normalise(red).flatten().tolist() == [0.0, 0.0, 1.0]


def test_ragged_arrays_are_padded_at_the_end():
    batch = collate([{"x": np.array([1.0, 2.0])}, {"x": np.array([3.0])}])["x"]
    assert isinstance(batch, Ragged)
    assert batch.values.tolist() == [[1.0, 2.0], [3.0, 0.0]]
    assert batch.lengths.tolist() == [2, 1]


def test_a_read_is_uint8_rgb_upright(manifest):
    wanted = {"all": Frames(0, np.arange(3)), "small": Frames(0, np.array([1]), size=(16, 24))}
    clips = execute(Sample(wanted, {}), manifest)
    assert clips["all"].dtype == np.uint8
    assert clips["all"].shape == (3, 3, HEIGHT, WIDTH)
    assert clips["small"].shape == (3, 1, 16, 24)
    assert clips["all"][:, 1, 0, 0].tolist() == [255, 20, 0]
    assert clips["all"][:, 1, 0, -1].tolist() == [0, 20, 255]


def test_seconds_count_from_the_first_frame(manifest):
    seconds = np.array([0.0, 0.09, 0.1, 0.25, 99.0])
    clips = execute(Sample({"clip": Times(0, seconds)}, {}), manifest)
    assert numbers_of(clips["clip"]) == [0, 0, 1, 2, FRAMES - 1]
    assert manifest.video(0).times[:2] == pytest.approx([0.0, 0.1])
    assert manifest.video(0).fps == pytest.approx(RATE)


def test_windows_are_half_open(manifest):
    index = Index(manifest, np.array([0, 0]), np.array([0.0, 0.3]), np.array([0.3, 0.5]))
    assert [index.frames(i).tolist() for i in range(2)] == [[0, 1, 2], [3, 4]]


def test_strides_are_frames_of_the_sampled_rate(manifest):
    index = Index(manifest, np.array([0]), np.array([0.0]), np.array([1.2]))
    assert index.frames(0, rate=5.0)[::2].tolist() == [0, 4, 8]
    assert index.frames(0)[::2].tolist() == [0, 2, 4, 6, 8, 10]


def test_keys_give_the_same_numbers_everywhere():
    assert key_entropy(7, "sample", 3) == 126564504951771757353668830367929491727
    assert numpy_generator(7, "sample", 3).integers(0, 1000, 4).tolist() == [991, 811, 925, 365]
    keys = [(1, 23), (12, 3), (23, 1), ("1", 23), (1, 23, 0)]
    assert len({key_entropy(*key) for key in keys}) == len(keys)


class Draws:
    """A planner that reads one frame and draws one number."""

    def plan(self, i, index, clock, rng):
        return Sample({"clip": Frames(0, np.array([i]))}, {"draw": rng.random(3)})

    def prepare(self, batch, generator):
        return batch


def test_a_sample_does_not_depend_on_its_batch(manifest):
    index = Index(manifest, np.zeros(6, np.int64), np.zeros(6), np.full(6, 1.2))
    reader = RequestReader(Draws(), index, seed=1, prepare=True)

    def draws(*samples, epoch=0, step=0):
        batch = reader[Request(Clock(epoch, step, 0.0), samples, (0,) * len(samples))].batch
        return batch["draw"].tolist()

    together = draws(0, 1, 2, 3)
    assert together == draws(0, 1, step=5) + draws(2, 3, step=9)
    assert together[::-1] == draws(3, 2, 1, 0)
    assert together != draws(0, 1, 2, 3, epoch=1)
    assert len({tuple(draw) for draw in together}) == 4


def test_flow_is_right_and_down_in_pixels_per_frame():
    texture = np.kron(np.random.default_rng(0).integers(0, 255, (20, 20)), np.ones((6, 6))).astype(np.uint8)
    first, second = texture[10:106, 10:106], texture[8:104, 7:103]
    flow = compute_flow(np.stack([first, second])[..., None].repeat(3, axis=-1))
    u, v = np.median(flow[0, 16:-16, 16:-16], axis=(0, 1))
    assert u == pytest.approx(3, abs=0.2)
    assert v == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_flow_coding(kind):
    assert np.asarray(decode_flow(kind(np.array([0, 51, 255], np.uint8)))) == pytest.approx([-20, -12, 20])
    codes = np.arange(256, dtype=np.uint8)
    assert encode_flow(np.asarray(decode_flow(kind(codes)))).tolist() == codes.tolist()
    assert encode_flow(np.array([-99.0, 99.0], np.float32)).tolist() == [0, 255]


def test_classes_are_numbered_from_0_in_sorted_order(tmp_path):
    rows = [{"path": f"{name}.mp4", "label": name} for name in ("walk", "jump", "walk")]
    labels, names = Manifest.from_rows(rows, tmp_path).labels()
    assert names == ["jump", "walk"]
    assert labels.tolist() == [1, 0, 1]


def test_accuracies_are_percent():
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert topk_accuracy(scores, [0, 1, 1]) == pytest.approx(200 / 3)
    assert hit_at_k([1, 3], 1) == 50
