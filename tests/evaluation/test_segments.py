"""Segments of long videos as arrays: what they hold, and that stopping, broken files and other settings do no harm."""

import shutil

import numpy as np
import pytest
import torch

from kinema.cli import main
from kinema.data.manifest import Manifest
from kinema.data.opening import open_manifest
from kinema.data.scan import scan
from kinema.data.sequences import read_sequence, sequence_shapes
from kinema.errors import DataError, RecipeError
from kinema.evaluation import Extraction, extract, segments
from kinema.evaluation.segments import Cutting, embed_segments, network_source, pixel_source, segment_bounds
from kinema.modules.encoder import EncoderInput
from tests.evaluation.videos import MeanColour
from tests.helpers import damage, moving_texture, write_video

ENCODER = EncoderInput(frames=2, resize=(24, 32), size=(16, 16), mean=(0, 0, 0), std=(1, 1, 1))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos of 4.0, 2.5 and 0.3 seconds at 10 fps."""
    folder = tmp_path_factory.mktemp("long")
    for number, frames in enumerate((40, 25, 3)):
        path = folder / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, moving_texture(number, (2, 1), frames=frames))
    return scan(folder, workers=1).manifest


def made(videos, folder, cutting=None, **options):
    cutting = cutting or Cutting(1.0, views="uniform2")
    return embed_segments(network_source("colours", MeanColour(ENCODER), cutting), videos, folder, cutting, **options)


def vectors_of(manifest):
    return [np.array(read_sequence(manifest, row)) for row in range(len(manifest))]


@pytest.mark.parametrize(
    ("stretch", "cutting", "expected"),
    [
        ((0, 10), Cutting(5), [(0, 5), (5, 10)]),
        ((0, 12), Cutting(5), [(0, 5), (5, 10), (10, 12)]),
        ((2, 4.5), Cutting(5), [(2, 4.5)]),
        ((0, 10.0005), Cutting(5), [(0, 5), (5, 10)]),
        ((0, 10), Cutting(4, 2), [(0, 4), (2, 6), (4, 8), (6, 10)]),
        ((0, 11), Cutting(4, 1), [(0, 4), (3, 7), (6, 10), (9, 11)]),
    ],
)
def test_segments_cover_a_stretch(stretch, cutting, expected):
    found = segment_bounds(*stretch, cutting)
    np.testing.assert_allclose(found, expected)
    assert found[-1, 1] == pytest.approx(stretch[1], abs=1e-3)


def test_vectors_are_those_of_the_stretches(videos, tmp_path):
    manifest = made(videos, tmp_path / "out")
    assert manifest.column("segments") == [4, 1, 3] and manifest.column("label") == videos.column("label")
    rows = []
    for row in range(3):
        for start, end in np.load(manifest.file(row, "feature_times")):
            rows.append({**videos.row(row), "start": start, "end": end})
    expected = extract({"e": MeanColour(ENCODER)}, Manifest.from_rows(rows, videos.root), Extraction("uniform2"))["e"]
    np.testing.assert_allclose(np.concatenate(vectors_of(manifest)), expected.pooled.mean(1), atol=1e-6)
    times = np.load(manifest.file(2, "feature_times"))
    np.testing.assert_allclose(times, [[0, 1], [1, 2], [2, 2.5]])
    opened = open_manifest(tmp_path / "out")
    assert opened.column("features") == manifest.column("features")
    assert sequence_shapes(opened).lengths.tolist() == [4, 1, 3] and sequence_shapes(opened).dim == 3
    assert opened.path(0) == videos.path(0) and opened.column("hash") == videos.column("hash")


def test_small_blocks_and_workers_give_the_same(videos, tmp_path, monkeypatch):
    whole = vectors_of(made(videos, tmp_path / "whole"))
    monkeypatch.setattr(segments, "BLOCK_BYTES", 1)
    cut = vectors_of(made(videos, tmp_path / "cut", workers=1))
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list((tmp_path / "cut" / "parts").glob("*"))


def test_what_was_finished_before_a_kill_is_not_made_again(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "BLOCK_BYTES", 1)
    whole, cutting = vectors_of(made(videos, tmp_path / "whole")), Cutting(1.0, views="uniform2")
    calls = []

    class Killed(BaseException):
        pass

    def source(limit):
        plain = network_source("colours", MeanColour(ENCODER), cutting)

        def encode(clips):
            if len(calls) == limit:
                raise Killed
            calls.append(len(clips))
            return plain.encode(clips)

        return plain._replace(encode=encode)

    # Eight segments in all, in blocks of one.
    for limit in (2, 3, 6):
        with pytest.raises(Killed):
            embed_segments(source(limit), videos, tmp_path / "out", cutting)
    again = embed_segments(source(99), videos, tmp_path / "out", cutting)
    assert len(calls) == 8
    for one, other in zip(whole, vectors_of(again), strict=True):
        np.testing.assert_array_equal(one, other)
    embed_segments(source(8), videos, tmp_path / "out", cutting)


def test_broken_videos_are_set_aside_with_the_reason(videos, tmp_path):
    for row in range(3):
        shutil.copy(videos.path(row), tmp_path / f"{row}.mp4")
    write_video(tmp_path / "broken.mp4", moving_texture(7, (1, 1), frames=40))
    shutil.copy(tmp_path / "broken.mp4", tmp_path / "same.mp4")
    scanned = scan(tmp_path, workers=1, labels="none").manifest
    damage(tmp_path / "broken.mp4")
    damage(tmp_path / "same.mp4")
    found = made(scanned, tmp_path / "out")
    assert [path.rpartition("/")[2] for path in found.column("path")] == ["0.mp4", "1.mp4", "2.mp4"]
    assert {path.rpartition("/")[2] for path, _ in found.set_aside} == {"broken.mp4", "same.mp4"}
    assert all(reason for _, reason in found.set_aside)
    assert (tmp_path / "out" / "manifest.quarantine.csv").is_file()


def test_a_folder_holds_one_kind_of_segments(videos, tmp_path):
    made(videos, tmp_path / "out")
    with pytest.raises(RecipeError, match="differ in: seconds; choose another folder"):
        made(videos, tmp_path / "out", Cutting(2.0, views="uniform2"))
    with pytest.raises(RecipeError, match="differ in: encoder"):
        made(videos, tmp_path / "out", Cutting(1.0, views="uniform3"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").write_text("mine")
    with pytest.raises(RecipeError, match=r"is not empty and holds no segments\.json"):
        made(videos, tmp_path / "other")


@pytest.mark.parametrize("options", [{"seconds": 0}, {"overlap": 5.0}, {"overlap": -1}, {"views": "sliding"}])
def test_settings_that_make_no_segments_are_refused(options):
    with pytest.raises(RecipeError):
        Cutting(**options)


def test_broken_weights_are_named(videos, tmp_path):
    cutting = Cutting(1.0, views="uniform2")
    source = network_source("colours", MeanColour(ENCODER), cutting)
    with pytest.raises(DataError, match="'colours' yields vectors that are not finite"):
        embed_segments(
            source._replace(encode=lambda clips: torch.full((len(clips), 3), torch.nan)),
            videos,
            tmp_path / "o",
            cutting,
        )


def test_the_command_embeds_pixels(videos, tmp_path, capsys):
    videos.write(tmp_path / "videos.parquet")
    command = ["embed", "pixels-motion-path", "--data", str(tmp_path / "videos.parquet"), "-o", str(tmp_path / "out")]
    assert main([*command, "--segments", "2", "--workers", "0"]) == 0
    assert "3 videos, 5 segments of 2 s, 80 numbers each" in capsys.readouterr().out
    found = open_manifest(tmp_path / "out")
    whole = embed_segments(pixel_source("pixels"), videos, tmp_path / "whole", Cutting(2.0))
    np.testing.assert_array_equal(np.concatenate(vectors_of(found)), np.concatenate(vectors_of(whole))[:, 800:])
    with pytest.raises(RecipeError, match="'pixels-colour' is no pixel reference"):
        pixel_source("pixels-colour")
