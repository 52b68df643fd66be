"""Lists of frames with masks or joints."""

import pytest

from kinema.data.layouts import lay_out
from kinema.errors import DataError

FRAMES = ["frames/bear", "frames/dog", "masks/bear"]


def test_pairs_of_frames_with_masks_or_joints(make, rows):
    lines = "frames/bear masks/bear\nframes/dog/ first/dog.png\nclip.mp4 joints/clip.mat\nframes/cow masks/cow\n"
    top = make("first/dog.png", "clip.mp4", "joints/clip.mat", frames=FRAMES, notes={"davis_vallist.txt": lines})
    listing = lay_out(top)
    assert listing.layout == "pairs"
    assert rows(listing) == {
        "frames/bear": {"masks": "masks/bear"},
        "frames/dog": {"masks": "first/dog.png"},
        "clip.mp4": {"joints": "joints/clip.mat"},
    }
    assert listing.missing == [("frames/cow masks/cow", "listed in davis_vallist.txt, but there is no such file")]


def test_joints_may_come_first(make, rows):
    top = make("a/joint_positions.mat", frames=["frames/a"], notes={"list.txt": "a/joint_positions.mat frames/a\n"})
    assert rows(lay_out(top, "pairs")) == {"frames/a": {"joints": "a/joint_positions.mat"}}


def test_a_list_beside_a_known_set_does_not_hide_it(make):
    frames = ["DAVIS/JPEGImages/480p/bear", "DAVIS/Annotations/480p/bear"]
    top = make(frames=frames, notes={"davis.txt": " ".join(frames) + "\n"})
    assert lay_out(top).layout == "davis2017"
    assert lay_out(top, "pairs").layout == "pairs"


def test_other_text_is_no_list_of_pairs(make):
    top = make(frames=FRAMES, notes={"notes.txt": "frames/bear good\nsee masks/bear\nfirst take\n"})
    with pytest.raises(DataError, match="no pairs of frames and masks"):
        lay_out(top, "pairs")
