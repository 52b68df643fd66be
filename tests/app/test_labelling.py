"""Labels of clips, written to a table by the options of the method."""

import pytest

from kinema.cli import main
from kinema.data.manifest import Manifest
from kinema.data.sample import tensor
from kinema.methods.statistics import centre_clips
from kinema.targets.statistics import APPEARANCE_NAMES, MOTION_NAMES
from tests.helpers import TINY_STS, damage, moving_texture, tiny_sts, write_tiny_videos, write_video

OPTIONS = [f"{name}={value}" for name, value in TINY_STS.items()]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The table, the manifest and what the command printed."""
    folder = tmp_path_factory.mktemp("labels")
    write_tiny_videos(folder / "videos", 3)
    main(["scan", str(folder / "videos"), "-o", str(folder / "videos.parquet")])
    status = main(
        ["labels", "sts", "--data", str(folder / "videos.parquet"), "-o", str(folder / "labels.csv"), *OPTIONS]
    )
    assert status == 0
    return Manifest.read(folder / "labels.csv", check_files=False), Manifest.read(folder / "videos.parquet")


def test_every_clip_has_the_labels_that_training_would_give_its_centre(labelled):
    table, videos = labelled
    method = tiny_sts()
    index = method.index(videos)
    assert len(table) == len(index) == 15
    compute = lambda batch: method.prepare(batch, None)  # noqa: E731
    batches = [delivery.batch for delivery in centre_clips(method, index, compute, batch=4)]
    for names, key in ((MOTION_NAMES, "motion"), (APPEARANCE_NAMES, "appearance")):
        expected = [row for batch in batches for row in tensor(batch, key).tolist()]
        found = [[int(table.row(i)[name]) for name in names] for i in range(len(table))]
        assert found == expected
    starts = [round(float(table.row(i)["start"]), 3) for i in range(5)]
    assert starts == [0.0, 0.8, 1.6, 2.4, 3.2]


def test_clips_that_cannot_be_read_are_named(tmp_path, capsys):
    videos = write_tiny_videos(tmp_path / "videos", 2)
    main(["scan", str(tmp_path / "videos"), "-o", str(tmp_path / "videos.parquet")])
    damage(videos[0])
    source, out = tmp_path / "videos.parquet", tmp_path / "labels.csv"
    assert main(["labels", "mas", "--data", str(source), "-o", str(out), "workers=1"]) == 0
    assert "left out:" in capsys.readouterr().out
    assert set(Manifest.read(out).column("path")) == {"videos/left/clip1.mp4"}


def test_clips_without_motion_have_colours_and_no_motion_labels(tmp_path):
    write_video(tmp_path / "still.mkv", moving_texture(0, (0, 0)), codec="ffv1")
    out = tmp_path / "labels.csv"
    assert main(["labels", "sts", "--data", str(tmp_path), "-o", str(out), "workers=0", *OPTIONS]) == 0
    rows = [Manifest.read(out).row(i) for i in range(5)]
    assert all(row[name] is None for row in rows for name in MOTION_NAMES)
    assert all(row[name] is not None for row in rows for name in APPEARANCE_NAMES)
