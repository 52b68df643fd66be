"""What several tests share: tiny videos of moving textures, a plain method, tiny recipes, and looks at run folders."""

import json
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kinema.data.loading import Request, deliver
from kinema.data.sample import Clock, Frames, Sample
from kinema.data.scan import scan
from kinema.methods.base import Method
from kinema.methods.sts import STS
from kinema.modules.encoder import Encoder, EncoderInput, Features, Products
from kinema.training.checkpoint import checkpoints, load_tensors
from kinema.training.loop import pretrain
from kinema.training.recipe import load_recipe
from kinema.training.stepper import Stepper

HEIGHT, WIDTH, RATE, FRAMES = 48, 64, 10, 40
"""Of every tiny video."""

CLIP, SIZE = 8, 32
"""Frames and crop of the tiny networks: five windows per tiny video."""

TINY_STS = {
    "frames": CLIP,
    "stride": 1,
    "size": SIZE,
    "resize": [32, 40],
    "backbone": "r3d",
    "width": 4,
    "flow": "dis-fast",
}
"""Options of a tiny STS."""

DIRECTIONS = {"right": (0, 2), "left": (0, -2), "down": (2, 0), "up": (-2, 0)}
"""Pixels per frame (down, right) of each class of tiny videos."""


def write_video(path, frames, *, rate=RATE, codec="libx264", stamps=None):
    """Write uint8 RGB frames [T, H, W, 3]; `stamps` (whole ticks of 1/1000 s) sets the times of frames by hand."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "12", "crf": "18"} if codec == "libx264" else {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p" if codec == "libx264" else "bgr0"
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts = number if stamps is None else int(stamps[number])
            frame.time_base = Fraction(1, rate) if stamps is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def moving_texture(seed, velocity, *, frames=FRAMES, height=HEIGHT, width=WIDTH):
    """A coloured texture that moves as a whole by `velocity` (down, right) pixels per frame, over a still half."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4, width // 4, 3))
    texture = np.kron(coarse, np.ones((4, 4, 1), np.int64)).astype(np.uint8)
    clip = np.stack([np.roll(texture, (velocity[0] * t, velocity[1] * t), (0, 1)) for t in range(frames)])
    clip[:, : height // 2, : width // 2] = texture[: height // 2, : width // 2]
    return clip


def write_tiny_videos(folder, count=6):
    """`count` videos in one folder per class; returns their paths."""
    paths = []
    for number in range(count):
        name, velocity = list(DIRECTIONS.items())[number % len(DIRECTIONS)]
        path = Path(folder) / name / f"clip{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, moving_texture(number, velocity))
        paths.append(path)
    return paths


def tiny_manifest(folder, count=6):
    """A scanned manifest of tiny videos in `folder`."""
    write_tiny_videos(folder, count)
    return scan(folder, workers=1).manifest


def damage(path):
    """Overwrite everything behind the first frames' index by noise, keeping the size: found only while decoding."""
    data = bytearray(Path(path).read_bytes())
    start = data.index(b"mdat") + 4
    noise = np.random.default_rng(0).integers(0, 256, len(data), dtype=np.uint8).tobytes()
    end = data.index(b"moov", start) - 4 if b"moov" in data[start:] else len(data)
    data[start:end] = noise[start:end]
    Path(path).write_bytes(data)


class Flat(Encoder):
    """A linear map of all pixels: no BatchNorm, no time, milliseconds."""

    def __init__(self, dim):
        super().__init__()
        self.input = EncoderInput("video", frames=CLIP, resize=(12, 16), size=(12, 16))
        self.feature_dim = dim
        self.weights = nn.Linear(3 * CLIP * 12 * 16, dim)

    def forward(self, x, valid=None, taps=()):
        return Features(torch.tanh(self.weights(x.flatten(1))))


class Plain(Method):
    """Tells the mean colour of a clip plus a drawn number; `nan_at` makes the loss of one step not finite."""

    def __init__(self, *, dim: int = 8, dropout: float = 0.0, nan_at: int | None = None):
        super().__init__()
        self.encoder, self.dropout, self.head = Flat(dim), nn.Dropout(dropout), nn.Linear(dim, 3)
        self.input, self.nan_at, self.now = self.encoder.input, nan_at, 0

    def plan(self, i, index, clock, rng):
        frames = index.frames(i)[:CLIP]
        return Sample({"video": Frames(int(index.rows[i]), frames, self.input.resize)}, {"shift": rng.normal(size=3)})

    def prepare(self, batch, generator):
        colour = batch["video"].float().mean((2, 3, 4)) / 255
        return {"video": batch["video"], "target": colour + 0.1 * batch["shift"].float()}

    def before_step(self, step):
        self.now = step

    def losses(self, batch, phase):
        told = self.head(self.dropout(self.encoder(self.input.normalise(batch["video"])).pooled))
        error = (told - batch["target"]).square().mean()
        poison = float("nan") if self.now == self.nan_at and self.training else 1.0
        return {"loss": error * poison, "parts": {"error": error * poison, "size": told.detach().abs().mean()}}

    def products(self):
        return Products({"video": self.encoder})


PLAIN = f"{__name__}:Plain"
"""The name of `Plain` as a method from outside."""


def tiny_recipe(method="sts", **overrides):
    """A recipe of seconds: R3D of width 4, clips of 8 frames at 32 pixels, on this process alone."""
    options = dict(TINY_STS) if method == "sts" else {}
    base = {"epochs": 2, "batch": 6, "workers": 0, "device": "cpu", "checkpoint": 1e3, "health": 0.0}
    base["channels_last"] = False
    settings = {"optimiser.name": "sgd", "optimiser.lr": 0.01, "schedule.warmup": 0.5, "clip_grad": None}
    named = {f"options.{name}": value for name, value in options.items()}
    return load_recipe(method, None, {**named, **base, **settings, **overrides})


def tiny_sts(**options):
    """A tiny STS with the same first weights each time."""
    torch.manual_seed(0)
    return STS(**{**TINY_STS, "resize": (32, 40), **options})


def read_batch(method, index, samples=(0, 1, 2, 3), *, seed=0, **options):
    """One batch as prepared, or as read with `prepare=False`."""
    request = Request(Clock(0, 0, 0.0), tuple(samples), (0,) * len(samples))
    return next(iter(deliver(method, index, [request], seed=seed, workers=0, **options))).batch


def journal(run, event=None):
    """The records of a run's metrics.jsonl, all or those of one event; every line must be whole."""
    records = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if event in (None, record["event"])]


def final_weights(run):
    """The tensors of the newest checkpoint."""
    return load_tensors(checkpoints(Path(run))[-1] / "model.safetensors")


def training_state(run):
    """The optimiser states of the newest checkpoint."""
    return torch.load(checkpoints(Path(run))[-1] / "training_state.pt", weights_only=True)


def assert_same_bits(first, second):
    """Two trees of dictionaries, lists and tensors that must be equal bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same_bits(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same_bits(one, other)
    else:
        assert first == second


def assert_same_run(first, second):
    """Two run folders that ended with the same weights, averages and optimiser states, bit for bit."""
    one, other = (checkpoints(Path(run))[-1] for run in (first, second))
    assert one.name == other.name
    names = [sorted(file.name for file in folder.glob("*.safetensors")) for folder in (one, other)]
    assert names[0] == names[1] and "model.safetensors" in names[0]
    for name in names[0]:
        assert_same_bits(load_tensors(one / name), load_tensors(other / name))
    assert_same_bits(training_state(first), training_state(second))


def assert_same_journal(first, second):
    """The same steps and looks, each once and in order, with the same numbers; only times may differ."""
    for event in ("step", "health", "validation", "quarantine", "end"):
        timeless = [
            [
                {
                    key: value
                    for key, value in record.items()
                    if key not in ("clips_per_second", "wait_share", "seconds")
                }
                for record in journal(run, event)
            ]
            for run in (first, second)
        ]
        assert timeless[0] == timeless[1]


class Stop(Exception):
    """Stands for whatever ends a process."""


@contextmanager
def stopping_after(monkeypatch, steps):
    """Let `steps` steps be done in this process; the next one does not begin."""
    original = Stepper.step
    done = []

    def step(self, *arguments):
        if len(done) == steps:
            raise Stop
        done.append(None)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", step)
        with pytest.raises(Stop):
            yield


def stopped_and_resumed(monkeypatch, recipe, manifest, folder, moments):
    """Run, stopped after so many steps each time, until the end."""
    for steps in moments:
        with stopping_after(monkeypatch, steps):
            pretrain(recipe, manifest, folder, resume=True, quiet=True)
    return pretrain(recipe, manifest, folder, resume=True, quiet=True)
