"""The truth beside synthetic clips: it agrees with the pixels, and with itself."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from kinema.data.manifest import Manifest
from kinema.data.reading import execute
from kinema.data.sample import Column, Flow, Frames, Sample
from kinema.data.synthetic import (
    CAMERA_MOTIONS,
    Extras,
    LongWorld,
    PersonWorld,
    World,
    compose,
    describe,
    draw_scene,
    read_truth,
    render_film,
    render_truth,
    render_world,
)
from kinema.data.synthetic.motion import trajectory
from kinema.data.synthetic.shapes import outline
from kinema.errors import DataError
from kinema.video.flow import compute_flow, decode_flow

SMALL = {"frames": 8, "size": (64, 80)}
WORLDS = {
    "default": World(**SMALL),
    "moving camera": World(**SMALL, camera_motions=CAMERA_MOTIONS[1:]),
    "wrap": World(**SMALL, border="wrap", speeds=(0.6,), distractors=2),
    "crowd": World(**SMALL, distractors=4, mingle=True),
    "persons": PersonWorld(frames=8, size=(192, 256), camera=0.1),
}


@pytest.fixture(scope="module")
def clips():
    """Frames and truth of four clips of each world."""
    return {name: [render_truth(compose(2, i, world)) for i in range(4)] for name, world in WORLDS.items()}


def inner(layers, t):
    """Pixels whose whole 7 x 7 neighbourhood shows one layer."""
    same = cv2.erode(layers[t].astype(np.float32), np.ones((7, 7))) == cv2.dilate(
        layers[t].astype(np.float32), np.ones((7, 7))
    )
    same[:3] = same[-3:] = same[:, :3] = same[:, -3:] = False
    return same


def follow(frame, flow):
    """What lies at the end of every flow vector."""
    rows, columns = np.indices(flow.shape[:2], np.float32)
    return cv2.remap(frame, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR).astype(float)


@pytest.mark.parametrize("name", WORLDS)
def test_the_next_frame_warped_by_the_flow_is_this_frame(clips, name):
    errors = {"true": [], "none": [], "reversed": []}
    for frames, truth in clips[name]:
        flow = truth.flow()
        for t in range(len(flow)):
            # Compared is what shows one layer around a pixel, and the same one where it goes.
            kept = inner(truth.layers, t)
            ahead = follow(inner(truth.layers, t + 1).astype(np.float32), flow[t]) == 1
            there = follow(truth.layers[t + 1].astype(np.float32), flow[t]) == truth.layers[t]
            visible = kept & ahead & there & (np.abs(flow[t]).max(-1) > 0.3)
            if name != "moving camera":
                visible &= truth.layers[t] > 0  # else the scenery outweighs everything
            for kind, sign in (("true", 1), ("none", 0), ("reversed", -1)):
                found = np.abs(follow(frames[t + 1], sign * flow[t]) - frames[t]).mean(-1)[visible]
                errors[kind].append(found)
    means = {kind: np.concatenate(parts).mean() for kind, parts in errors.items()}
    assert sum(map(len, errors["true"])) > 1000
    assert means["true"] < 3  # of 255: interpolation and rounding
    assert means["none"] > 2 * means["true"]
    assert means["reversed"] > 3 * means["true"]


@pytest.mark.parametrize("name", WORLDS)
def test_masks_partition_the_frame_and_lie_within_the_amodal_ones(clips, name):
    for _, truth in clips[name]:
        modal, amodal = truth.modal_masks(), truth.amodal_masks()
        assert ((truth.masks == 0).astype(int) + modal.sum(1) == 1).all()
        assert (amodal | ~modal).all()
        assert modal.any()
        assert ((truth.masks == 0) == ~amodal.any(1)).all()  # nothing hides behind the scenery


@pytest.mark.parametrize("name", ["crowd", "persons"])
def test_the_nearest_object_is_the_one_that_is_seen(clips, name):
    for _, truth in clips[name]:
        amodal = truth.amodal_masks()
        rank = np.array([truth.depth.index(number) for number in range(1, truth.objects + 1)])
        nearest = np.where(amodal.any(1), np.where(amodal, rank[:, None, None], -1).argmax(1) + 1, 0)
        assert (truth.masks == nearest).all()


@pytest.mark.parametrize("name", ["wrap", "crowd", "persons"])
def test_an_object_rendered_alone_covers_its_amodal_mask(name):
    film = compose(2, 1, WORLDS[name])
    _, truth = render_truth(film)
    for number in range(1, film.objects + 1):
        shot = film.shots[0]
        alone = replace(shot, layers=tuple(layer for layer in shot.layers if layer.owner == number))
        mask = render_truth(replace(film, shots=(alone,)))[1].masks == number
        assert (mask == truth.amodal_masks()[:, number - 1]).all()


def test_the_mask_of_a_body_is_its_outline():
    world = World(frames=6, size=(96, 128), distractors=0)
    for i in range(6):
        scene = draw_scene(0, i, world)
        masks = render_truth(compose(0, i, world))[1].masks
        times = np.arange(world.frames) / world.fps
        poses = trajectory(scene.body, times, world.size, scene.camera.path(times))
        for t, (centre, angle, scale) in enumerate(zip(*poses, strict=True)):
            turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            corners = scale * scene.body.radius * outline(scene.body.shape) @ turned.T + centre
            drawn = cv2.fillPoly(np.zeros(world.size, np.uint8), [np.round(corners).astype(np.int32)], 1) == 1
            seen = masks[t] == 1
            assert (drawn & seen).sum() / (drawn | seen).sum() > 0.85


@pytest.mark.parametrize("name", ["crowd", "persons"])
@pytest.mark.parametrize("amodal", [False, True])
def test_boxes_are_tight(clips, name, amodal):
    seen = 0
    for _, truth in clips[name]:
        masks = truth.amodal_masks() if amodal else truth.modal_masks()
        for (t, k), box in np.ndenumerate(truth.boxes(amodal=amodal).view("i2,i2,i2,i2")[..., 0]):
            rows, columns = np.nonzero(masks[t, k])
            if not len(rows):
                assert tuple(box) == (0, 0, 0, 0)
                continue
            seen += 1
            assert tuple(box) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert seen > 50


@pytest.mark.parametrize("name", ["moving camera", "persons"])
def test_the_camera_explains_the_flow_of_the_scenery(clips, name):
    for i, (_, truth) in enumerate(clips[name]):
        world = WORLDS[name]
        ((start, camera),) = describe(2, i, world).cameras
        assert start == 0
        step = np.diff(camera.path(np.arange(world.frames) / world.fps), axis=0)
        flow = truth.flow()
        assert np.abs(step).max() > 0.01
        for t in range(len(flow)):
            still = flow[t][truth.masks[t] == 0]
            assert np.abs(still + step[t]).max() < 1e-4


def test_estimated_flow_agrees_with_the_true_one(clips):
    errors, lengths = [], []
    for frames, truth in clips["default"]:
        moving = (truth.masks[:-1] == 1) & (np.linalg.norm(truth.flow(), axis=-1) > 0.7)
        errors.append(np.linalg.norm(compute_flow(frames) - truth.flow(), axis=-1)[moving])
        lengths.append(np.linalg.norm(truth.flow(), axis=-1)[moving])
    assert np.median(np.concatenate(errors)) < 0.35 * np.median(np.concatenate(lengths))


def test_rendering_the_truth_changes_no_pixel():
    film = compose(0, 3, WORLDS["crowd"])
    assert (render_truth(film)[0] == render_film(film)).all()


def test_many_tracks_of_a_crowd_are_partly_hidden_at_some_time():
    world = World(frames=24, size=(64, 80), distractors=4, mingle=True)
    tracks = []
    for i in range(8):
        truth = render_truth(compose(0, i, world))[1]
        whole, seen = (masks.sum((2, 3)) for masks in (truth.amodal_masks(), truth.modal_masks()))
        hidden = 1 - seen / np.maximum(whole, 1)
        tracks += list(((hidden > 0.1) & (hidden < 0.7)).any(0))
    assert np.mean(tracks) > 0.3
    assert len(tracks) == 40


def test_flow_is_zero_across_a_cut():
    world = LongWorld(seconds=30, fps=4)
    truth = render_truth(compose(0, 0, world))[1]
    flow = truth.flow()
    starts = [round(row["start"] * world.fps) for row in describe(0, 0, world).segments]
    assert len(starts) > 8
    assert np.isnan(truth.motion[[start - 1 for start in starts[1:]]]).all()
    assert (flow[[start - 1 for start in starts[1:]]] == 0).all()
    assert (np.abs(flow).max((1, 2, 3)) > 0.05).mean() > 0.5
    assert np.isnan(truth.motion).all((1, 2, 3)).sum() == len(starts) - 1


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    world = PersonWorld(frames=6, size=(48, 64))
    labels = render_world(folder, clips=2, seed=4, world=world, extras=Extras(truth=True), workers=1)
    return world, Manifest.read(labels)


def test_files_hold_the_truth_and_columns_read_them(written):
    world, manifest = written
    truth = render_truth(compose(4, 1, world))[1]
    names = ("masks", "amodal", "boxes", "true_flow", "parts", "joints")
    read = execute(Sample({name: Column(1, name) for name in names}, {}), manifest)
    assert (read["masks"] == truth.masks).all()
    assert ((read["amodal"][:, None] >> np.arange(3)[:, None, None] & 1) == truth.amodal_masks()).all()
    assert (read["boxes"] == truth.boxes()).all()
    assert np.abs(decode_flow(read["true_flow"]).transpose(0, 2, 3, 1) - truth.flow()).max() <= 20 / 255 + 1e-5
    assert (read["joints"] == truth.joints).all()
    assert ((read["parts"] > 0) == (truth.masks > 0)).all()
    part = execute(Sample({"masks": Column(1, "masks", 2, 4)}, {}), manifest)["masks"]
    assert (part == truth.masks[2:4]).all()
    again = read_truth(manifest.root / manifest.column("truth")[1])
    assert (again.flow() == truth.flow()).all()
    assert again.depth == truth.depth
    assert again.objects == 3


def test_the_true_flow_may_serve_as_the_column_flow(written):
    world, manifest = written
    assert "flow" not in manifest.columns  # a method would take it unasked
    rows = [{**manifest.row(i), "flow": manifest.column("true_flow")[i]} for i in range(2)]
    manifest = Manifest.from_rows(rows, manifest.root)
    frames = Frames(1, np.array([1, 2, 3]), size=world.size)
    read = execute(Sample({"clip": frames, "flow": Flow("clip")}, {}), manifest)
    stored = np.load(manifest.root / manifest.column("flow")[1])
    assert (read["flow"] == stored[1:3].transpose(1, 0, 2, 3)).all()


def test_the_manifest_may_move_to_another_folder(written, tmp_path):
    _, manifest = written
    manifest.write(tmp_path / "other.parquet")
    moved = Manifest.read(tmp_path / "other.parquet")
    for name in ("masks", "amodal", "parts", "true_flow", "truth"):
        assert (moved.root / moved.column(name)[0]).exists()


def test_what_is_no_truth_is_refused(tmp_path):
    (tmp_path / "truth.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="--truth"):
        read_truth(tmp_path / "truth.npz")
