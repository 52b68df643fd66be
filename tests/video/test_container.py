"""Opening and demuxing what is damaged: errors in words, text that is no text, memory given back."""

import errno

import av
import av.error
import pytest

from kinema.video import memory
from kinema.video.container import packets_of, words
from kinema.video.decode import read_frames
from kinema.video.probe import probe
from tests.video.rendering import numbers_in


def test_names_of_tracks_that_are_no_unicode_do_no_harm(numbered, tmp_path):
    with av.open(str(numbered("plain.mkv"))) as old, av.open(str(tmp_path / "named.mkv"), "w") as new:
        track = old.streams.video[0]
        stream = new.add_stream_from_template(track)
        new.metadata["title"], stream.metadata["title"] = "Zsammen", "Zsammen"
        for packet in old.demux(track):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    path = tmp_path / "latin.mkv"
    data = (tmp_path / "named.mkv").read_bytes()
    assert data.count(b"Zsammen") >= 2
    path.write_bytes(data.replace(b"Zsammen", b"Z\xfcammen"))
    assert numbers_in(read_frames(probe(path), [7])) == [7]


def test_a_track_that_begins_in_the_middle_is_damage_and_no_riddle():
    class Container:
        def demux(self, video):
            yield "packet"
            raise IndexError("list index out of range")

    packets = packets_of(Container(), None)
    assert next(packets) == "packet"
    with pytest.raises(av.error.FFmpegError) as caught:
        next(packets)
    assert words(caught.value) == "a track begins in the middle"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (av.error.InvalidDataError(1094995529, "Invalid data found when processing input"), "invalid data found"),
        (av.error.PermissionError(errno.EPERM, "Operation not permitted"), "its data make no sense"),
        (av.error.ArgumentError(errno.EINVAL, "Invalid argument"), "its data make no sense"),
        (av.error.OSError(errno.EIO, "Input/output error"), "input/output error"),
        (PermissionError(errno.EPERM, "Operation not permitted"), "operation not permitted"),
    ],
)
def test_words_that_would_mislead_are_not_passed_on(error, told):
    assert words(error).startswith(told)


def test_freed_memory_is_given_back_now_and_then(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "_trim", lambda: calls.append)
    for _ in range(3 * memory._EVERY):
        memory.tidy()
    assert calls == [0, 0, 0]


def test_giving_back_does_nothing_where_it_cannot(monkeypatch):
    memory._trim.cache_clear()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory._trim()(0) is None
    memory._trim.cache_clear()
