"""Videos inside tar archives: found, read in place like files, and refused where the archive is not what it was."""

import gzip
import io
import tarfile

import numpy as np
import pytest

from kinema.errors import VideoError
from kinema.video import content_hash, probe, read_frames
from kinema.video.archives import archive_of, contents
from kinema.video.container import check_unchanged
from kinema.video.info import VideoInfo
from tests.video.rendering import numbers_in

LONG = "a folder/" + "very long " * 12 + "name"


def write_tar(path, files, **options):
    """A tar archive of {name: bytes}."""
    with tarfile.open(path, "w", **options) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def shard(tmp_path, numbered):
    clip = numbered("clip.mp4", 30, gop=6).read_bytes()
    files = {"0001.txt": b"first", "0001.mp4": clip, f"{LONG}.mp4": clip, "./é/0003.mp4": clip}
    return write_tar(tmp_path / "a shard, 1.tar", files)


@pytest.mark.parametrize("name", ["0001.mp4", f"{LONG}.mp4", "é/0003.mp4"])
def test_a_member_is_read_like_the_file(shard, numbered, name):
    clip = numbered("clip.mp4", 30, gop=6)
    inside, outside = probe(shard / name), probe(clip)
    np.testing.assert_array_equal(inside.pts, outside.pts)
    assert (inside.bytes, inside.codec) == (outside.bytes, outside.codec)
    assert content_hash(shard / name) == content_hash(clip)
    np.testing.assert_array_equal(read_frames(inside, [25, 3]), read_frames(outside, [25, 3]))


def test_a_scanned_member_is_opened_without_reading_the_table_of_contents(shard, monkeypatch):
    columns = probe(shard / "0001.mp4").to_columns()
    monkeypatch.setattr("kinema.video.archives.contents", lambda archive: pytest.fail("the archive was searched"))
    info = VideoInfo.from_columns(shard / "0001.mp4", columns)
    check_unchanged(info)
    assert numbers_in(read_frames(info, [17])) == [17]


@pytest.mark.parametrize("name", ["0001.mp4", f"{LONG}.mp4"])
def test_an_archive_that_was_written_anew_is_told(shard, numbered, name):
    info = probe(shard / name)
    check_unchanged(info)
    clip = numbered("clip.mp4", 30, gop=6).read_bytes()
    first = {"0001.txt": b"1st"}
    for other in ({name: clip}, first | {"0002.mp4": clip, "b": clip}, first | {name: clip[1:]}, first):
        write_tar(shard, other)
        with pytest.raises(VideoError, match="its archive was changed since the scan"):
            check_unchanged(info)


def test_what_is_not_there_is_told(shard, tmp_path):
    with pytest.raises(VideoError, match=r"0002.mp4: no such file in the archive$"):
        probe(shard / "0002.mp4")
    with pytest.raises(VideoError, match=r"0001.txt: not a video: "):
        probe(shard / "0001.txt")
    write_tar(tmp_path / "empty.tar", {"0.mp4": b""})
    with pytest.raises(VideoError, match=r"empty file \(0 bytes\)"):
        probe(tmp_path / "empty.tar" / "0.mp4")


def test_a_cut_off_archive_keeps_its_whole_files(shard):
    content = shard.read_bytes()
    last = contents(shard).members["é/0003.mp4"]
    for end in (last.offset + 10, last.offset - 100):
        shard.write_bytes(content[:end])
        members, damage = contents(shard)
        assert list(members) == ["0001.txt", "0001.mp4", f"{LONG}.mp4"]
        assert damage == "cut off after 3 files"
    assert numbers_in(read_frames(probe(shard / "0001.mp4"), [5])) == [5]
    with pytest.raises(VideoError, match="no such file in the archive, which is cut off after 3 files"):
        probe(shard / "é/0003.mp4")


def test_compressed_and_other_files_are_refused_in_words(shard, tmp_path):
    packed = tmp_path / "packed.tar"
    packed.write_bytes(gzip.compress(shard.read_bytes()))
    assert contents(packed).damage.startswith("compressed")
    (tmp_path / "text.tar").write_bytes(b"text" * 500)
    assert contents(tmp_path / "text.tar").damage.startswith("no tar: ")


def test_only_paths_through_an_archive_lead_into_one(shard, tmp_path):
    assert archive_of(shard / "0001.mp4") == shard
    assert archive_of(shard) is None
    (tmp_path / "folder.tar").mkdir()
    assert archive_of(tmp_path / "folder.tar" / "clip.mp4") is None
