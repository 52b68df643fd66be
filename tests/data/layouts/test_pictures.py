"""DAVIS, VIP and JHMDB: folders of images with their masks or joints, and the parts that the lists state."""

import pytest

from kinema.data.layouts import LayoutOptions, lay_out
from kinema.errors import DataError

DAVIS = [f"DAVIS/{kind}/480p/{name}" for kind in ("JPEGImages", "Annotations") for name in ("bear", "dog", "cows")]


def davis(name, **more):
    place = "DAVIS/{}/480p/" + name
    return {place.format("JPEGImages"): {"masks": place.format("Annotations"), "fps": 24.0, **more}}


def test_davis2017(make, rows):
    """A later size is left aside; a sequence of which only the first mask is public keeps its masks."""
    frames = [*DAVIS[:5], "DAVIS/JPEGImages/Full-Resolution/bear"]
    notes = {
        "DAVIS/ImageSets/2017/train.txt": "bear\n",
        "DAVIS/ImageSets/2017/val.txt": "dog\nhorse\n",
        "DAVIS/ImageSets/2017/test-dev.txt": "cows\n",
        "DAVIS/ImageSets/2016/val.txt": "bear\n",
    }
    listing = lay_out(make("DAVIS/Annotations/480p/cows/00000.png", frames=frames, notes=notes))
    assert listing.layout == "davis2017"
    assert rows(listing) == davis("bear", split="train") | davis("dog", split="val") | davis("cows", split="test")
    assert listing.missing == [("horse", "listed in val.txt, but there is no such file")]
    assert listing.evidence.startswith("DAVIS 2017 (480p): DAVIS/ImageSets/2017/")
    assert listing.evidence.endswith("images taken at 24 fps")


@pytest.mark.parametrize("place", ["2016", "480p"])
def test_davis2016(make, rows, place):
    """Its lists name every image, those in the later package the sequences."""
    lines = "/JPEGImages/480p/{0}/00000.jpg /Annotations/480p/{0}/00000.png\n" * 2 if place == "480p" else "{0}\n"
    lists = {
        f"DAVIS/ImageSets/{place}/{part}.txt": lines.format(name) for part, name in (("train", "dog"), ("val", "bear"))
    }
    listing = lay_out(make(frames=DAVIS, notes=lists))
    assert listing.layout == "davis2016"
    assert rows(listing) == davis("dog", split="train") | davis("bear", split="val")
    assert "; 1 videos or folders of frames that no list names are left out" in listing.evidence
    make(notes={"DAVIS/ImageSets/2017/train.txt": "cows\n"})
    assert lay_out(listing.root).layout == "davis2017"
    assert rows(lay_out(listing.root, "davis2016")) == rows(listing)


def test_davis_without_lists_and_at_another_rate(make, rows):
    listing = lay_out(make(frames=DAVIS[:4]), options=LayoutOptions(fps=30))
    expected = davis("bear") | davis("dog") | davis("cows")
    expected = {path: row | {"fps": 30} for path, row in expected.items()}
    for path in ("DAVIS/JPEGImages/480p/cows", "DAVIS/JPEGImages/480p/dog"):
        del expected[path]["masks"]  # no annotations there
    assert rows(listing) == expected
    assert listing.layout == "davis2017"
    assert listing.evidence.startswith("DAVIS 2017 (the year is a guess): JPEGImages beside")
    assert "no lists, so no splits" in listing.evidence
    assert lay_out(listing.root, "davis2016", options=LayoutOptions(fps=30)).rows == listing.rows
    make(notes={"DAVIS/ImageSets/2017/val.txt": "bear\n"})
    with pytest.raises(DataError, match=r"no DAVIS 2016 found in .*ImageSets/2016"):
        lay_out(listing.root, "davis2016")


def test_masks_at_the_top_without_sizes(make, rows):
    """As YouTube-VOS has them."""
    frames = ["JPEGImages/003234408d", "Annotations/003234408d"]
    assert rows(lay_out(make(frames=frames))) == {
        "JPEGImages/003234408d": {"masks": "Annotations/003234408d", "fps": 24.0}
    }


def test_vip(make, rows):
    frames = [f"{kind}/videos{number}" for kind in ("Images", "Annotations/Category_ids") for number in (1, 2)]
    top = make(frames=frames)
    assert rows(lay_out(top)) == {
        f"Images/videos{number}": {"masks": f"Annotations/Category_ids/videos{number}"} for number in (1, 2)
    }
    make(notes={"lists/val_videos.txt": "videos2\n", "lists/trainval_videos.txt": "videos1\nvideos2\n"})
    listing = lay_out(top)
    assert listing.layout == "vip"
    assert rows(listing) == {"Images/videos2": {"masks": "Annotations/Category_ids/videos2", "split": "val"}}
    assert listing.evidence.endswith("images taken at 25 fps")


def test_jhmdb(make, rows):
    clips = ("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0", "brush_hair/Long_brush_hair_u_cm_np1_fr_med_1")
    top = make(
        *(f"joint_positions/{clip}/joint_positions.mat" for clip in clips),
        f"puppet_mask/{clips[0]}/puppet_mask.mat",
        frames=[f"Rename_Images/{clip}" for clip in clips],
    )
    first, second = (f"Rename_Images/{clip}" for clip in clips)
    joints = {
        path: {"joints": f"joint_positions/{clip}/joint_positions.mat"}
        for path, clip in zip((first, second), clips, strict=True)
    }
    joints[first]["masks"] = f"puppet_mask/{clips[0]}/puppet_mask.mat"
    plain = {path: row | {"label": "brush_hair", "fps": 30.0} for path, row in joints.items()}
    assert rows(lay_out(top)) == plain
    names = [clip.partition("/")[2] for clip in clips]
    make(notes={"splits/brush_hair_test_split1.txt": f"{names[0]}.avi 1\n{names[1]}.avi 2\n"})
    listing = lay_out(top)
    assert listing.layout == "jhmdb"
    assert rows(listing) == {
        first: plain[first] | {"split": "train", "group": "April_09"},
        second: plain[second] | {"split": "test", "group": "Long"},
    }
