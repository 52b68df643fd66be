"""Folders that describe themselves, text lists, and what is recognised without being told."""

import io
import json
import tarfile

import pytest

from kinema.data.layouts import LAYOUTS, LayoutOptions, lay_out
from kinema.errors import DataError, RecipeError


def write_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def test_folders_of_images_in_classes_with_flow(make, rows):
    """As the reference of STS has them: Class/video/frame000001.jpg, u/video, v/video."""
    frames = ["Run/v_1", "Run/v_2", "Jump/v_3", *(f"{part}/{name}" for part in "uv" for name in ("v_1", "v_2", "v_3"))]
    listing = lay_out(make("readme.md", frames=frames))
    assert listing.layout == "frames"
    assert rows(listing) == {
        "Jump/v_3": {"label": "Jump", "flow": "u/v_3"},
        "Run/v_1": {"label": "Run", "flow": "u/v_1"},
        "Run/v_2": {"label": "Run", "flow": "u/v_2"},
    }
    assert listing.evidence == "folders of numbered images: 3, such as Jump/v_3; images taken at 25 fps"
    assert listing.other == {".md": 1}


def test_flow_follows_classes_and_videos(make, rows):
    top = make(
        "Run/v_1.avi",
        "Jump/v_1.avi",
        frames=[f"flow/{part}/{clip}" for part in "uv" for clip in ("Run/v_1", "Jump/v_1")],
    )
    assert {path: row.get("flow") for path, row in rows(lay_out(top)).items()} == {
        "Run/v_1.avi": "flow/u/Run/v_1",
        "Jump/v_1.avi": "flow/u/Jump/v_1",
    }


@pytest.mark.parametrize("letters", ["tuvw", "uv"])
def test_classes_called_u_and_v_are_no_flow(make, letters):
    """Letters of a finger alphabet: other letters hold the same names, or the two hold different ones."""
    names = {letter: "1" if len(letters) > 2 else letter for letter in letters}
    listing = lay_out(make(frames=[f"{letter}/{name}" for letter, name in names.items()]))
    assert sorted(row["label"] for row in listing.rows) == list(letters)
    assert not any("flow" in row for row in listing.rows)


def test_parts_are_called_as_evaluation_knows_them(make, rows):
    found = rows(lay_out(make("Training/a/1.mp4", "Validation/a/2.mp4", "testing/b/3.mp4")))
    assert [(row["split"], row["label"]) for row in found.values()] == [("train", "a"), ("val", "a"), ("test", "b")]


def test_videos_hide_images_and_say_so(make):
    top = make("a/1.mp4", "a/thumb1.jpg", "a/thumb2.jpg", frames=["b/2"])
    write_tar(top / "shard.tar", {"x.mp4": b""})
    listing = lay_out(top)
    assert [row["path"] for row in listing.rows] == ["a/1.mp4"]
    assert listing.evidence == (
        "plain folders: 1 video files; passed over: 1 folders of numbered images (--layout frames), "
        "1 tar files (--layout webdataset)"
    )
    assert [row["path"] for row in lay_out(top, "frames").rows] == ["b/2"]
    assert "1 video files are left out" in lay_out(top, "frames").evidence


def test_webdataset(tmp_path, rows):
    files = {
        "0001.mp4": b"",
        "0001.txt": "a man waves é".encode(),
        "0001.cls": b"3\n",
        "0002.json": json.dumps({"caption": "rain", "class": 5, "start": 2, "url": "x", "split": None}).encode(),
        "0002.webm": b"",
        "sub/0002.left.mp4": b"",
        "0003.json": b"[broken",
        "0003.MP4": b"",
        "0004.txt": b"no video",
    }
    write_tar(tmp_path / "shards" / "a-000.tar", files)
    write_tar(tmp_path / "shards" / "b" / "a-001.tar", {"0001.avi": b""})
    listing = lay_out(tmp_path / "shards")
    assert listing.layout == "webdataset"
    assert rows(listing) == {
        "a-000.tar/0001.mp4": {"label": "3", "text": "a man waves é"},
        "a-000.tar/0002.webm": {"label": "5", "text": "rain", "start": 2.0},
        "a-000.tar/sub/0002.left.mp4": {},
        "a-000.tar/0003.MP4": {},
        "b/a-001.tar/0001.avi": {},
    }
    assert listing.evidence == "WebDataset: 2 tar files, such as a-000.tar, with 5 videos, read in place"
    assert lay_out(tmp_path / "shards" / "a-000.tar").rows[0]["path"] == "a-000.tar/0001.mp4"


def test_a_damaged_shard_is_set_aside_and_its_rest_is_used(tmp_path):
    write_tar(tmp_path / "a.tar", {"1.mp4": bytes(9000), "2.mp4": bytes(9000)})
    write_tar(tmp_path / "empty.tar", {})
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(content[:15000])
    listing = lay_out(tmp_path)
    assert [row["path"] for row in listing.rows] == ["a.tar/1.mp4"]
    assert listing.missing == [("a.tar", "cut off after 1 files"), ("empty.tar", "holds no files")]
    write_tar(tmp_path / "a.tar", {"1.txt": b""})
    with pytest.raises(DataError, match=r"no video in 2 tar files \(empty.tar: holds no files\)"):
        lay_out(tmp_path)


def test_lists_of_paths_and_labels(make, rows):
    """ "path label" and "path number label", with blanks or commas; names with blanks are found by what is there."""
    notes = {
        "train.csv": "videos/a 1.mp4 3\nvideos/b.mp4 3\n",
        "val_list.txt": "Run/c 77 walk\nRun/gone 5 walk\n",
        "test.txt": "videos/d.mp4,run\n",
        "labels_of_train.csv": "who,what\n",
    }
    top = make("videos/a 1.mp4", "videos/b.mp4", "videos/d.mp4", frames=["Run/c"], notes=notes)
    listing = lay_out(top, "lists")
    assert rows(listing) == {
        "videos/a 1.mp4": {"label": "3", "split": "train"},
        "videos/b.mp4": {"label": "3", "split": "train"},
        "Run/c": {"label": "walk", "split": "val"},
        "videos/d.mp4": {"label": "run", "split": "test"},
    }
    assert listing.missing == [("Run/gone", "listed in val_list.txt, but there is no such file")]
    assert lay_out(top).layout == "lists"


def test_a_video_listed_to_train_and_to_test_is_told(make):
    top = make("a.mp4", notes={"train.txt": "a.mp4 1\n", "test.txt": "a.mp4 1\n"})
    with pytest.raises(DataError, match=r"train.txt: a.mp4 is listed for 'train' here and for 'test' before"):
        lay_out(top)


def test_what_may_be_several_layouts_is_not_guessed(make):
    notes = {"trainlist01.txt": "a/b.avi 1\n", "testlist01.txt": "", "x_test_split1.txt": "b.avi 1\n"}
    top = make("x/b.avi", notes=notes)
    with pytest.raises(DataError, match=r"may be several layouts: ucf101 \(.*\); hmdb51 \(x_test_split1.txt\)"):
        lay_out(top)
    assert lay_out(top, "hmdb51").layout == "hmdb51"


def test_other_texts_do_not_disturb_plain_folders(make):
    notes = {"train.json": "{}", "labels.json": "{}", "train.csv": "path,label\na/1.mp4,x\n", "testlist.txt": "\n"}
    assert lay_out(make("a/1.mp4", "b/2.mp4", notes=notes)).layout == "folders"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_wrong_folder_is_told_with_what_was_looked_for(make, layout):
    top = make("notes.txt")
    with pytest.raises(DataError, match=rf"^no {LAYOUTS[layout].title} found in .*looked for .*1 other files"):
        lay_out(top, layout)


def test_a_set_whose_videos_are_elsewhere_is_told(make):
    top = make("cat.mp4", notes={"a_test_split1.txt": "b.avi 1\nc.avi 2\n"})
    with pytest.raises(
        DataError, match=r"HMDB51 split 1 lists 2 videos \(a_test_split1.txt\), but none .* a/b.avi, was"
    ):
        lay_out(top)


def test_options_that_mean_nothing_are_refused(make):
    top = make("1.mp4")
    with pytest.raises(RecipeError, match=r"split= means nothing to the layout 'folders'"):
        lay_out(top, options=LayoutOptions(split=2))
    with pytest.raises(RecipeError, match=r"layout='ufc101' is unknown. Did you mean 'ucf101'"):
        lay_out(top, "ufc101")
    with pytest.raises(DataError, match=r"lists=.*nowhere: no such"):
        lay_out(top, "ucf101", LayoutOptions(lists=top / "nowhere"))


def test_loose_images_are_one_video_each(make, rows):
    top = make("photos/cats/1.jpg", "photos/cats/old/2.PNG", "photos/dogs/2.webp", "readme.md", ".hidden.jpg")
    listing = lay_out(top / "photos")
    assert listing.layout == "images"
    assert listing.evidence == "images: 3, such as cats/1.jpg, each a video of one frame"
    expected = {"cats/1.jpg": "cats", "cats/old/2.PNG": "cats", "dogs/2.webp": "dogs"}
    assert rows(listing) == {path: {"label": label} for path, label in expected.items()}
    assert listing.other == {}


def test_numbered_images_are_frames_unless_it_is_said_that_they_are_not(make, rows):
    top = make("clips/1.mp4", frames=["walk/a", "walk/b"])
    assert lay_out(top).layout == "folders"
    listing = lay_out(top, "images", LayoutOptions(labels="none"))
    assert list(rows(listing)) == [f"walk/{name}/frame{k:06d}.jpg" for name in "ab" for k in (1, 2)]
    assert listing.evidence.endswith("1 video files are left out")
    with pytest.raises(DataError, match=r"no images found in .*looked for image files"):
        lay_out(make("x/clip.mp4", folder="other"), "images")
