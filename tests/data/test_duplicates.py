"""Identical and near-identical videos: copies are found, other moments before the same camera are not."""

from fractions import Fraction

import av
import numpy as np
import pytest

from kinema.data.duplicates import LOOK, MOTION, identical_groups, near_groups, near_pairs, overlap
from kinema.data.manifest import Manifest
from kinema.video import probe, read_frames
from kinema.video.fingerprint import BYTES, FRAMES, fingerprint, unpack
from tests.video.rendering import write_numbered

SIZE = 96


def scene(seed, *, steps=48, still=False, camera=0):
    """float [T, 96, 96, 3]: a blob on a curved path of its own before a fixed background, that of the camera."""
    rng, background = np.random.default_rng(seed), np.random.default_rng(1000 + camera)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    ground = 110 + 30 * np.kron(background.normal(size=(12, 12)), np.ones((8, 8)))
    t = np.linspace(0, 1, steps)
    a, b, c, d = rng.uniform(0, 2 * np.pi, 4)
    paths = (
        0.5 + 0.35 * np.sin(2 * np.pi * t + a + np.sin(3 * t + b)),
        0.5 + 0.35 * np.sin(4 * t + c + np.cos(2 * t + d)),
    )
    frames = np.repeat(ground[None], steps, 0)
    for frame, px, py in zip(frames, *paths, strict=True):
        if not still:
            frame += 40 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 0.006)
    return np.repeat(frames[..., None], 3, -1)


def write(path, frames, *, rate=24, gop=12, quality=20, size=SIZE):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate), options={"crf": str(quality)})
        stream.width = stream.height = size
        stream.pix_fmt, stream.gop_size = "yuv420p", gop
        for frame in np.clip(frames, 0, 255).astype(np.uint8):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(size, size, "yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def prints(*paths):
    found = [fingerprint(probe(path)) for path in paths]
    assert all(found)
    return np.frombuffer(b"".join(found), np.uint8).reshape(-1, BYTES)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Folder with an original, copies of it, and others before the same camera."""
    folder = tmp_path_factory.mktemp("copies")
    frames = scene(0)
    write(folder / "original.mp4", frames)
    write(folder / "small.mp4", frames, size=48, quality=32, gop=250)
    write(folder / "slower.mp4", frames[::2], rate=12)
    write(folder / "bright.mp4", 0.85 * frames + np.array([30, 20, 12]))
    write(folder / "other.mp4", scene(1))
    write(folder / "third.mp4", scene(2))
    write(folder / "elsewhere.mp4", scene(0, camera=1))
    write(folder / "backwards.mp4", frames[::-1])
    write(folder / "still.mp4", scene(0, still=True))
    write(folder / "still_too.mp4", scene(1, still=True), quality=25)
    return folder


def manifest_of(folder, names, **columns):
    rows = [{"path": name, "hash": name, "fingerprint": fingerprint(probe(folder / name))} for name in names]
    return Manifest.from_rows([row | columns for row in rows], folder)


def test_copies_are_found_and_others_before_the_same_camera_are_not(copies):
    names = [path.name for path in sorted(copies.iterdir())]
    assert near_groups(manifest_of(copies, names)) == [["bright.mp4", "original.mp4", "slower.mp4", "small.mp4"]]


def test_the_look_alone_would_confuse_moments_before_one_camera(copies):
    """Why motion is compared as well."""
    look, motion = unpack(prints(copies / "original.mp4", copies / "other.mp4", copies / "elsewhere.mp4"))
    assert (look[0] != look[1])[:, 1:].mean() < LOOK < (look[0] != look[2])[:, 1:].mean()
    assert (motion[0] != motion[1])[:, 1:].mean() > MOTION


def test_bits_are_the_signs_of_a_cosine_transform(copies):
    from scipy.fft import dctn

    info = probe(copies / "original.mp4")
    frames = read_frames(info, info.frame_at((np.arange(FRAMES) + 0.5) / FRAMES * info.duration), (32, 32))
    grey = frames @ np.array([0.299, 0.587, 0.114])
    (look,), (motion,) = unpack(prints(info.path))
    for grid, bits in ((grey, look), (grey - grey.mean(0), motion)):
        waves = dctn(grid, axes=(1, 2))[:, :8, :8].reshape(FRAMES, 64)
        sure = np.abs(waves) > 1e-2
        sure[:, 0] = False
        np.testing.assert_array_equal(bits[sure], (waves > 0)[sure])
    assert motion[:, 0].all() and not look[:, 0].any()


def test_what_does_not_move_is_never_called_near_identical(copies):
    still = prints(copies / "still.mp4", copies / "still_too.mp4")
    _, motion = unpack(still)
    assert not motion[:, :, 0].any()
    assert len(near_pairs(still)) == 0


def slow_pairs(first, second):
    """By the definition, one pair and one frame at a time."""
    found = []
    (look, motion), (other_look, other_motion) = unpack(first), unpack(second)
    for i in range(len(first)):
        for j in range(len(second)):
            seen = np.mean([(look[i, f, 1:] != other_look[j, f, 1:]).mean() for f in range(FRAMES)])
            both = [f for f in range(FRAMES) if motion[i, f, 0] and other_motion[j, f, 0]]
            moved = [(motion[i, f, 1:] != other_motion[j, f, 1:]).mean() for f in both]
            if seen <= LOOK and len(both) >= 3 and np.mean(moved) <= MOTION:
                found.append([i, j])
    return found


def random_prints(rng, count, flips):
    """Fingerprints of which many are changed copies of few."""
    bits = rng.random((6, FRAMES, 2, 64)) < 0.5
    bits[:, :, 1, 0] = True
    bits = bits[rng.integers(0, 6, count)]
    bits ^= rng.random(bits.shape) < flips * rng.random((count, 1, 1, 1))
    bits[:, :, 1, 0] = rng.random((count, FRAMES)) < 0.7
    return np.packbits(bits.reshape(count, -1), axis=1)


def test_pairs_are_those_of_the_definition(monkeypatch):
    monkeypatch.setattr("kinema.data.duplicates._BLOCK", 7)
    monkeypatch.setattr("kinema.data.duplicates._VERIFIED_AT_ONCE", 5)
    rng = np.random.default_rng(0)
    first, second = random_prints(rng, 40, 0.2), random_prints(rng, 30, 0.2)
    joined = np.concatenate([first, second])
    between = sorted(near_pairs(joined[:40], joined[35:]).tolist())
    assert between == slow_pairs(joined[:40], joined[35:]) and 10 < len(between) < 1300
    within = sorted(near_pairs(first).tolist())
    assert within == [pair for pair in slow_pairs(first, first) if pair[0] < pair[1]] and len(within) > 10


def test_damage_and_endless_ways_give_no_fingerprint(copies, tmp_path, monkeypatch):
    content = bytearray((copies / "original.mp4").read_bytes())
    start = content.find(b"mdat") + 1200
    content[start : start + 400] = bytes(400)
    info = probe(copies / "original.mp4")
    (tmp_path / "original.mp4").write_bytes(content)
    broken = type(info).from_columns(tmp_path / "original.mp4", info.to_columns())
    assert fingerprint(broken) is None
    far = write_numbered(tmp_path / "far.mp4", 60, gop=600)
    assert fingerprint(probe(far)) is not None
    monkeypatch.setattr("kinema.video.fingerprint._LONGEST_WAY", 50)
    assert fingerprint(probe(far)) is None
    assert fingerprint(probe(write_numbered(tmp_path / "near.mp4", 60, gop=5))) is not None


def test_overlap_tells_identical_from_near_identical(copies):
    ours = manifest_of(copies, ["original.mp4", "other.mp4", "small.mp4", "still.mp4"])
    theirs = manifest_of(copies, ["third.mp4", "bright.mp4", "other.mp4", "slower.mp4"])
    found = overlap(ours, theirs)
    assert found == ({1: 2}, {0: 1, 2: 1}, "content hash, and fingerprint")
    assert overlap(ours, theirs, [2, 3]) == ({}, {2: 1}, "content hash, and fingerprint")
    assert overlap(ours, ours).near == {}
    unprinted = Manifest(theirs.table.drop(["fingerprint"]), copies)
    assert overlap(ours, unprinted) == ({1: 2}, {}, "content hash")


def test_groups_of_identical_files_and_segments(tmp_path):
    rows = [{"path": name, "hash": content} for name, content in zip("abcab", "xyxxy", strict=True)]
    assert identical_groups(Manifest.from_rows(rows, tmp_path)) == [["a", "c"]]
    assert near_groups(Manifest.from_rows(rows, tmp_path)) == []


def test_real_copies_are_found_and_clips_of_one_sequence_are_not_copies(shared_data):
    files = sorted((shared_data / "av_samples").iterdir())
    files += sorted((shared_data / "ucf101_bits" / "Diving").glob("*.avi"))
    clips = shared_data / "ut_interaction" / "clips"
    files += [path for k in (3, 4) for path in sorted(clips.glob(f"*ing/set1_*_{k}_*"))]
    (pair,) = near_pairs(prints(*files)).tolist()
    assert [files[i].name for i in pair] == [
        "3qesirWAGt4_20000_30000.mp4",
        "3qesirWAGt4_20000_30000_25fps_256side_16khz.mp4",
    ]
