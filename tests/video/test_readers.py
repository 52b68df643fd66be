"""Optional readers: chosen by name, told when they are missing, and held to the same frames as PyAV."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from kinema.errors import KinemaError, MissingExtra, RecipeError, VideoError
from kinema.video import readers
from kinema.video.decode import read_frames
from kinema.video.probe import probe
from tests.video.rendering import numbers_in
from tests.video.test_decode import FILES, decoded_plainly, grey_cells, patch_matrix

KINDS = ["gop12-b.mp4", "gop250-b.mp4", "open-gop.mp4", "gop12-b.mkv", "gop12-b.avi", "mpeg4-b.avi", "vp9.webm"]
LEVELS = 2.0
"""Mean difference allowed, in grey levels: other builds of the same decoders convert colours by other roundings."""


def disagreement(reader, infos, monkeypatch):
    """The largest mean difference, over reads of these videos, between a reader's frames and PyAV's."""
    worst = 0.0
    for info in infos:
        rng = np.random.default_rng(0)
        for wanted, size in ((np.arange(20, 36), (32, 48)), (rng.integers(0, info.frames, 6), None)):
            frames = []
            for name in ("pyav", reader):
                monkeypatch.setenv(readers.VARIABLE, name)
                frames.append(read_frames(info, wanted, size).astype(float))
            worst = max(worst, float(np.abs(frames[0] - frames[1]).mean((1, 2, 3)).max()))
    return worst


@pytest.fixture
def infos(numbered):
    """Of a width that needs no padding, which decord 3.4 does not take off."""
    return [probe(numbered(name, 60, FILES[name][0], scale=2, **FILES[name][1])) for name in KINDS]


@pytest.mark.parametrize("name", ["torchcodec", "decord"])
def test_installed_readers_agree_with_pyav(name, infos, monkeypatch):
    try:
        readers._package("torchcodec.decoders" if name == "torchcodec" else name, name)
    except KinemaError as error:
        pytest.skip(str(error))
    assert disagreement(name, infos, monkeypatch) < LEVELS


class FakeReader:
    """Stands in for decord's VideoReader: whole decode, then frames by number, `shift` beside the asked ones."""

    def __init__(self, infos, shift=0, frames=None):
        self.by_path = {str(info.path): info for info in infos}
        self.shift, self.frames, self.read = shift, frames, []

    def __call__(self, path, **options):
        info = self.by_path[path]
        self.whole = decoded_plainly(info)
        return self

    def __len__(self):
        return self.frames or len(self.whole)

    def get_batch(self, indices):
        self.read += indices
        pictures = self.whole[np.clip(np.array(indices) + self.shift, 0, len(self.whole) - 1)]
        return SimpleNamespace(asnumpy=lambda: pictures)


@pytest.fixture
def installed(monkeypatch):
    """Function: from now on, importing decord gives this reader."""

    def install(reader):
        module = ModuleType("decord")
        module.VideoReader, module.cpu = reader, lambda number: None
        monkeypatch.setitem(sys.modules, "decord", module)
        monkeypatch.setenv(readers.VARIABLE, "decord")
        return reader

    return install


def test_a_right_reader_agrees_and_one_that_is_a_frame_late_does_not(infos, installed, monkeypatch):
    reader = installed(FakeReader(infos))
    assert disagreement("decord", infos, monkeypatch) < 1.0
    assert reader.read
    installed(FakeReader(infos, shift=1))
    assert disagreement("decord", infos, monkeypatch) > LEVELS


def test_what_a_reader_may_get_wrong_stays_with_pyav(numbered, installed, tmp_path):
    """Another count of frames, times that cannot be trusted, and turns."""
    codec, options = FILES["gop12-b.avi"]
    counted = probe(numbered("gop12-b.avi", 60, codec, **options))
    assert counted.counted
    turned = probe(patch_matrix(grey_cells(tmp_path / "plain.mov"), tmp_path / "turned.mov", (0, 1, -1, 0)))
    plain = probe(numbered("plain.mp4"))
    reader = installed(FakeReader([counted, turned, plain], shift=1, frames=41))
    assert numbers_in(read_frames(counted, [5, 50])) == [5, 50]
    assert numbers_in(read_frames(plain, [5, 30])) == [5, 30]
    assert read_frames(turned, [0]).shape == (1, 48, 32, 3)
    assert reader.read == []


def test_a_readers_own_failure_names_the_file_and_the_way_out(numbered, installed, monkeypatch):
    info = probe(numbered("plain.mp4"))

    def fail(path, **options):
        raise RuntimeError("cannot find video stream")

    installed(fail)
    with pytest.raises(VideoError, match=r"plain\.mp4: decord cannot read it .*video stream.*KINEMA_READER=pyav"):
        read_frames(info, [0])
    reader = installed(FakeReader([info]))
    reader.frames = 40
    reader.get_batch = lambda indices: SimpleNamespace(asnumpy=lambda: np.zeros((1, 64, 96, 4), np.uint8))
    with pytest.raises(VideoError, match=r"decord cannot read it \(it gives frames of 64 x 96 x 4.*KINEMA_READER=pyav"):
        read_frames(info, [0])


def test_readers_that_are_unknown_missing_or_broken_are_told(numbered, monkeypatch):
    info = probe(numbered("plain.mp4"))
    monkeypatch.setenv(readers.VARIABLE, "decor")
    with pytest.raises(RecipeError, match=r"KINEMA_READER='decor' is no reader. Did you mean 'decord'\?"):
        read_frames(info, [0])
    monkeypatch.setenv(readers.VARIABLE, "decord")
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(MissingExtra, match=r"'decord'.*kinema\[decord\]"):
        read_frames(info, [0])

    def broken(name):
        raise OSError("libavutil.so.59: cannot open shared object file\nmore")

    monkeypatch.setattr(readers, "import_module", broken)
    with pytest.raises(KinemaError, match=r"'decord' is installed but does not load \(libavutil.*file\): mend it"):
        read_frames(info, [0])
    monkeypatch.setenv(readers.VARIABLE, "")
    assert numbers_in(read_frames(info, [7])) == [7]
