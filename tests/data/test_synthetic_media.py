"""Sound, accelerometer and captions of synthetic clips, and the files that hold them."""

import csv
from dataclasses import replace

import av
import numpy as np
import pytest

from kinema.data.synthetic import (
    CAMERA_MOTIONS,
    MOTIONS,
    Extras,
    LongWorld,
    PersonWorld,
    World,
    compose,
    describe,
    draw_scene,
    render_world,
)
from kinema.data.synthetic.camera import GRAVITY, IMU_HEADER, IMU_RATE
from kinema.data.synthetic.motion import strikes, trajectory
from kinema.data.synthetic.sound import SOUND_RATE, Sound, pitch_of, waveform
from kinema.errors import DataError, RecipeError

WORLD = World(frames=50, size=(48, 64), identities=6, distractors=0, camera_motions=CAMERA_MOTIONS)
ALL = Extras(truth=True, sound=True, imu=True, captions=True, imu_noise=0.0)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    labels = render_world(folder, clips=8, seed=2, world=WORLD, extras=ALL, workers=1)
    with labels.open(newline="") as file:
        return folder, list(csv.DictReader(file))


def decode_sound(path):
    """Mono samples and their rate; the first sample is at the time 0 of the video."""
    with av.open(str(path)) as container:
        assert container.streams.audio[0].start_time == 0 == container.streams.video[0].start_time
        parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return np.concatenate(parts), container.streams.audio[0].rate


def onsets(samples, rate):
    """Moments at which the loudness over 4 ms jumps to more than twice that of the 12 ms before."""
    hop = rate // 250
    loud = np.sqrt(np.square(samples[: len(samples) // hop * hop].reshape(-1, hop)).mean(1))
    loud = np.concatenate([np.full(3, 1e-3), loud])
    before = np.max([loud[k : len(loud) - 3 + k] for k in range(3)], axis=0)
    rising = (loud[3:] > 2 * before) & (loud[3:] > 0.05)
    starts = np.flatnonzero(rising & ~np.concatenate([[False], rising[:-1]]))
    return starts * hop / rate


def test_decoded_onsets_are_the_events(rendered):
    folder, _ = rendered
    with (folder / "sounds.csv").open(newline="") as file:
        events = list(csv.DictReader(file))
    compared = 0
    for i in range(8):
        times = np.array([float(row["time"]) for row in events if row["path"] == f"{i:06d}.mp4"])
        # An onset is heard by itself where nothing rang before it.
        alone = times[np.diff(times, prepend=-1) > 0.15]
        found = onsets(*decode_sound(folder / f"{i:06d}.mp4"))
        for time in alone:
            assert np.abs(found - time).min() < 0.02
            compared += 1
        for time in found:
            assert np.abs(times - time).min() < 0.02
    assert compared > 15


def test_the_pitch_is_that_of_the_identity(rendered):
    folder, rows = rendered
    compared = 0
    for i, row in enumerate(rows):
        samples, rate = decode_sound(folder / row["path"])
        times = np.array([sound.time for sound in describe(2, i, WORLD).sounds])
        alone = times[(np.diff(times, prepend=-1) > 0.2) & (times < 1.9)]
        for time in alone[:2]:
            part = samples[round(time * rate) : round((time + 0.08) * rate)]
            spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 14))
            pitch = np.argmax(spectrum) * rate / (1 << 14)
            assert pitch == pytest.approx(pitch_of(int(row["identity"])), rel=0.03)
            compared += 1
    assert compared > 5


def test_pitches_of_sixteen_identities_differ():
    pitches = sorted(pitch_of(k) for k in range(16))
    assert min(np.diff(np.log2(pitches))) > 0.2
    assert pitches[-1] < SOUND_RATE / 2


def test_a_sound_begins_at_its_time_and_not_before():
    wave = waveform([Sound(0.5, 1, 440.0)], 1.0, np.random.default_rng(0))
    assert len(wave) == SOUND_RATE
    assert np.abs(wave[: SOUND_RATE // 2]).max() < 0.02
    assert np.abs(wave[SOUND_RATE // 2 : SOUND_RATE // 2 + 100]).max() > 0.3


@pytest.mark.parametrize("motion", ["translate", "oscillate", "zigzag"])
def test_strikes_are_the_moments_at_which_the_path_turns(motion):
    world = World(classes=(motion,), distractors=0, camera=0.0)
    times = np.arange(2000) * 0.001
    still = np.zeros((2000, 2))
    heard = 0
    for i in range(6):
        body = draw_scene(0, i, world).body
        velocity = np.diff(trajectory(body, times, world.size, still).centre, axis=0)
        turned = (velocity[1:] * velocity[:-1]).sum(1) < 0.98 * np.linalg.norm(velocity[1:], axis=1) * np.linalg.norm(
            velocity[:-1], axis=1
        )
        wanted = times[1:-1][turned]
        found = strikes(body, times, world.size, still)
        for time in wanted:
            assert np.abs(found - time).min() < 0.003
        heard += len(wanted)
        assert len(found) <= len(wanted) + 2  # grazing reflections turn the path by little
    assert heard > 6


@pytest.mark.parametrize(("motion", "per_period"), [("stop_and_go", 2), ("rock", 2), ("pulse", 2), ("orbit", 1)])
def test_strikes_come_with_every_period(motion, per_period):
    body = replace(
        draw_scene(0, 0, World(classes=(motion,))).body, period=0.5, phase=0.1, speed=1.0, start=(64.0, 48.0)
    )
    times = np.arange(2000) * 0.001
    found = strikes(body, times, (96, 128), np.zeros((2000, 2)))
    assert len(found) == per_period * 4
    if motion == "stop_and_go":
        path = trajectory(body, times, (96, 128), np.zeros((2000, 2))).centre
        moving = np.linalg.norm(np.diff(path, axis=0), axis=1) > 1e-9
        assert found == pytest.approx(times[1:-1][moving[1:] != moving[:-1]], abs=0.002)


def test_a_spinning_body_strikes_once_a_turn():
    body = replace(draw_scene(0, 0, World(classes=("rotate",))).body, speed=40.0, radius=10.0, turn=1, angle=0.5)
    times = np.arange(4000) * 0.001
    found = strikes(body, times, (96, 128), np.zeros((4000, 2)))
    assert np.diff(found) == pytest.approx(np.full(len(found) - 1, 2 * np.pi / 4), abs=0.002)
    assert found[0] == pytest.approx((2 * np.pi - 0.5) / 4, abs=0.002)


def read_imu(path):
    lines = path.read_text().splitlines()
    return lines[0], np.array([[float(cell) for cell in line.split(",")] for line in lines[1:]])


def test_the_accelerometer_measures_the_second_difference_of_the_cameras_path(rendered):
    folder, rows = rendered
    feels = {}
    for i, row in enumerate(rows):
        header, table = read_imu(folder / row["imu"])
        assert header == IMU_HEADER
        assert table[:, 0] == pytest.approx(np.arange(int(2 * IMU_RATE)) / IMU_RATE)
        ((_, camera),) = describe(2, i, WORLD).cameras
        h = 1e-3
        path = [camera.path(table[:, 0] + shift) for shift in (-h, 0, h)]
        second = (path[0] - 2 * path[1] + path[2]) / h**2 / min(WORLD.size)
        assert table[:, 1] == pytest.approx(second[:, 0], abs=2e-3)
        assert table[:, 2] == pytest.approx(second[:, 1] - GRAVITY, abs=2e-3)
        assert (table[:, 3] == 0).all()
        feels[row["camera"]] = table[:, 1:3].std()
    assert feels.get("drift", 0) == 0
    assert feels["walk"] > 0.5
    assert len(feels) > 2


def test_the_accelerometer_agrees_with_the_flow_of_the_scenery(rendered):
    folder, rows = rendered
    for row in rows:
        shift = -np.load(folder / row["truth"])["motion"][:, 0, :, 2]  # of the camera, per frame
        from_flow = np.diff(shift, axis=0) * WORLD.fps**2 / min(WORLD.size)
        _, table = read_imu(folder / row["imu"])
        at_frames = table[8 :: int(IMU_RATE / WORLD.fps)][: len(from_flow), 1:3] + (0, GRAVITY)
        # A difference over frames averages over them, which weakens the fastest trembling.
        assert np.abs(from_flow - at_frames).max() <= 0.2 * np.abs(at_frames).max() + 1e-3


def test_noise_is_added_as_asked(tmp_path):
    world = World(frames=100, size=(16, 16))
    render_world(tmp_path, clips=1, world=world, extras=Extras(imu=True, imu_noise=0.3), workers=1)
    _, table = read_imu(tmp_path / "imu" / "000000.csv")
    assert table[:, 1:].std(0) == pytest.approx(np.full(3, 0.3), rel=0.1)
    assert table[:, 1:].mean(0) == pytest.approx(np.array([0, -GRAVITY, 0]), abs=0.05)


def test_the_table_is_laid_out_like_a_real_one(shared_data):
    real = (shared_data / "gopro_imu" / "karma_accl.csv").read_text().splitlines()
    assert real[0] == IMU_HEADER
    assert len(real[1].split(",")) == 4


def test_captions_say_what_is_true_in_several_wordings():
    world = World(border="wrap", speeds=(0.15, 0.3, 0.6), directions=8, camera_motions=CAMERA_MOTIONS, events=1)
    clips = [describe(0, i, world) for i in range(160)]
    wordings = {}
    for clip in clips:
        text, row = clip.text, clip.row
        assert row["shape"] in text
        assert text[0].isupper()
        assert text.endswith(".")
        way = row["direction_class"]
        if row["label"] in ("translate", "zigzag", "stop_and_go"):
            assert f" {way} " in f" {text.rstrip('.')} "
        wordings.setdefault((row["label"], row["speed_class"]), set()).add(text.split(" ", 2)[2])
    assert len(wordings) == 3 * len(MOTIONS)
    assert min(len(found) for found in wordings.values()) > 1
    mirrored = [describe(0, i, World()).text for i in range(40)]
    assert not any(
        " left" in text or " right" in text for text in mirrored if "camera" not in text and "view" not in text
    )


def test_words_of_one_motion_are_said_of_no_other():
    said = {}
    for i in range(160):
        clip = describe(0, i, World())
        row, text = clip.row, clip.text
        said.setdefault(row["label"], set()).update(text.replace(".", "").split()[2:5])
    assert "spins" in said["rotate"]
    assert not any("spins" in words for label, words in said.items() if label != "rotate")


def test_columns_name_the_files(rendered):
    folder, rows = rendered
    for row in rows:
        assert row["audio"] == row["path"]
        for name in ("imu", "masks", "amodal", "true_flow", "boxes", "truth"):
            assert (folder / row[name]).is_file()
        assert row["text"]


def same_files(one, other):
    """All files of the first folder stand in the second, byte for byte."""
    paths = sorted(path.relative_to(one) for path in one.rglob("*.*") if path.is_file() and path.parent != one)
    paths += sorted(path.relative_to(one) for path in one.glob("*.mp4"))
    for path in paths:
        if path.suffix != ".npz":  # a zip file holds the time of writing
            assert (one / path).read_bytes() == (other / path).read_bytes(), path
    return paths


def test_files_do_not_depend_on_the_number_of_workers(tmp_path):
    world = PersonWorld(frames=6, size=(48, 64))
    for workers in (1, 2):
        render_world(tmp_path / str(workers), clips=2, seed=1, world=world, extras=ALL, workers=workers)
    assert len(same_files(tmp_path / "1", tmp_path / "2")) == 2 * 9
    for name in ("labels.csv", "objects.csv", "world.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize(
    "world", [replace(WORLD, frames=8), LongWorld(seconds=30, fps=4, size=(16, 24))], ids=["shapes", "long"]
)
def test_files_do_not_depend_on_the_number_of_clips(world, tmp_path):
    for clips in (1, 2):
        render_world(tmp_path / str(clips), clips=clips, seed=1, world=world, extras=ALL, workers=1)
    assert len(same_files(tmp_path / "1", tmp_path / "2")) == 7


def test_extras_can_be_added_later_but_worlds_are_not_mixed(tmp_path):
    world = World(frames=4, size=(32, 32))
    render_world(tmp_path, clips=1, world=world, workers=1)
    kept = (tmp_path / "000000.mp4").stat().st_mtime_ns
    render_world(tmp_path, clips=1, world=world, extras=Extras(truth=True, captions=True), workers=1)
    assert (tmp_path / "000000.mp4").stat().st_mtime_ns == kept
    assert (tmp_path / "truth" / "000000" / "true_flow.npy").exists()
    for other in ({"world": replace(world, frames=5)}, {"seed": 1}, {"extras": Extras(sound=True)}):
        with pytest.raises(DataError, match="another world"):
            render_world(tmp_path, clips=1, workers=1, **{"world": world, **other})
    with pytest.raises(RecipeError, match="clips=0"):
        render_world(tmp_path, clips=0, world=world)


def test_clips_without_sound_have_no_track(tmp_path):
    render_world(tmp_path, clips=1, world=World(frames=4, size=(32, 32)), workers=1)
    with av.open(str(tmp_path / "000000.mp4")) as container:
        assert not container.streams.audio
    assert not (tmp_path / "sounds.csv").exists()


def test_every_world_composes_what_it_describes():
    for world in (WORLD, PersonWorld(frames=6, size=(48, 64)), LongWorld(seconds=30)):
        film, facts = compose(0, 1, world), describe(0, 1, world)
        assert film.objects == len(facts.objects)
        assert film.frames / world.fps == pytest.approx(facts.duration)
        assert [sound.time for sound in facts.sounds] == sorted(sound.time for sound in facts.sounds)
        assert all(0 <= sound.time < facts.duration for sound in facts.sounds)


def test_a_step_is_a_thud_and_a_clap_a_tone():
    kinds = {"tone": [], "step": []}
    for kind in kinds:
        wave = waveform([Sound(0.0, 1, 800.0, kind)], 0.2, np.random.default_rng(0))
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
        rate = np.fft.rfftfreq(len(wave), 1 / SOUND_RATE)
        kinds[kind] = spectrum[(rate > 60) & (rate < 120)].max() / spectrum[(rate > 700) & (rate < 900)].max()
    assert kinds["step"] > 0.5 > 10 * kinds["tone"]
    world = PersonWorld(frames=50, persons=1, actions=("walk", "clap"))
    for i, wanted in ((0, "step"), (1, "tone")):
        assert {sound.kind for sound in describe(0, i, world).sounds} == {wanted}


def test_nearness_in_the_table_is_the_order_of_depth(tmp_path):
    world = World(frames=2, size=(32, 32), distractors=3, mingle=True)
    render_world(tmp_path, clips=3, world=world, extras=Extras(truth=True), workers=1)
    with (tmp_path / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    orders = []
    for i in range(3):
        found = sorted((row for row in rows if row["path"] == f"{i:06d}.mp4"), key=lambda row: int(row["nearness"]))
        orders.append(tuple(int(row["object"]) for row in found))
        assert orders[-1] == draw_scene(0, i, world).depth
        assert found[orders[-1].index(1)]["motion"] == MOTIONS[i]
    assert len(set(orders)) > 1
