"""The lists of action sets in their official formats: labels, parts, groups, and what is listed but not there."""

import json

import pytest

from kinema.data.layouts import LayoutOptions, lay_out
from kinema.errors import DataError, RecipeError

UCF = {
    "ucfTrainTestlist/classInd.txt": "1 ApplyEyeMakeup\n2 HandstandPushups\n",
    "ucfTrainTestlist/trainlist01.txt": (
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nHandstandPushups/v_HandStandPushups_g08_c02.avi 2\r\n"
    ),
    "ucfTrainTestlist/testlist01.txt": (
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\nApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi\n"
    ),
    "ucfTrainTestlist/trainlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi 1\n",
    "ucfTrainTestlist/testlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi\n",
}
UCF_VIDEOS = (
    "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
    "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
    "UCF-101/HandstandPushups/v_HandStandPushups_g08_c02.avi",
)


def test_ucf101(make, rows):
    listing = lay_out(make(*UCF_VIDEOS, notes=UCF))
    assert listing.layout == "ucf101"
    assert rows(listing) == {
        UCF_VIDEOS[0]: {"label": "ApplyEyeMakeup", "split": "train", "group": "ApplyEyeMakeup_g08"},
        UCF_VIDEOS[2]: {"label": "HandstandPushups", "split": "train", "group": "HandstandPushups_g08"},
        UCF_VIDEOS[1]: {"label": "ApplyEyeMakeup", "split": "test", "group": "ApplyEyeMakeup_g01"},
    }
    name, reason = "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi", "listed in testlist01.txt, but there is no such file"
    assert listing.missing == [(name, reason)]
    assert listing.evidence == (
        "UCF101 split 1: ucfTrainTestlist/trainlist01.txt, ucfTrainTestlist/testlist01.txt; "
        "2 train / 2 test listed, 3 found"
    )
    assert listing.other == {}


def test_ucf101_other_split(make, rows):
    listing = lay_out(make(*UCF_VIDEOS, notes=UCF), options=LayoutOptions(split=2))
    assert {path: row["split"] for path, row in rows(listing).items()} == {
        UCF_VIDEOS[1]: "train",
        UCF_VIDEOS[0]: "test",
    }
    assert listing.evidence.endswith("2 found; 1 videos or folders of frames that no list names are left out")
    with pytest.raises(DataError, match=r"split 3 of UCF101 needs trainlist03.txt and testlist03.txt.*found neither"):
        lay_out(make(), options=LayoutOptions(split=3))
    with pytest.raises(RecipeError, match="splits 1 to 3"):
        lay_out(make(), options=LayoutOptions(split=4))


def test_ucf101_as_frames_with_flow_and_lists_elsewhere(make, rows):
    """The public set of images: `v_X` without class folders, beside `tvl1_flow/u/v_X` and `tvl1_flow/v/v_X`."""
    name = "v_ApplyEyeMakeup_g08_c01"
    frames = [f"jpegs_256/{name}", f"tvl1_flow/u/{name}", f"tvl1_flow/v/{name}"]
    lists = make(notes=UCF, folder="lists")
    listing = lay_out(make(frames=frames), "ucf101", LayoutOptions(lists=lists, fps=30))
    columns = {"label": "ApplyEyeMakeup", "split": "train", "group": "ApplyEyeMakeup_g08"}
    assert rows(listing) == {f"jpegs_256/{name}": columns | {"fps": 30, "flow": f"tvl1_flow/u/{name}"}}
    assert listing.evidence.endswith("images taken at 30 fps")
    assert len(listing.missing) == 3


def test_transcoded_and_resized_copies(make, rows):
    """Another suffix is found; of a video and its frames the video is taken; of two videos none is guessed."""
    name = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01"
    top = make(f"small/{name}.mp4", frames=[f"frames/{name}"], notes=UCF)
    assert list(rows(lay_out(top))) == [f"small/{name}.mp4"]
    with pytest.raises(DataError, match=rf"may be (big|small)/{name}\.\w+ or (big|small)/{name}"):
        lay_out(make(f"big/{name}.avi", notes=UCF))


def test_hmdb51(make, rows):
    names = {
        "April_09_brush_hair_u_nm_np1_ba_goo_0.avi": 1,
        "#20_Rhythm_brush_hair_h_cm [best] (x) _np1_ri_goo_2.avi": 2,
        "Aussie_Brunette_brush_hair_u_nm_np2_le_goo_1.avi": 0,
    }
    top = make(
        *(f"hmdb51_org/brush_hair/{name}" for name in names),
        "hmdb51_org/cartwheel/(Rad)Schlag_cartwheel_f_cm_np1_le_med_0.avi",
        notes={
            "testTrainMulti_7030_splits/brush_hair_test_split1.txt": "".join(f"{n} {k} \n" for n, k in names.items()),
            "testTrainMulti_7030_splits/cartwheel_test_split1.txt": (
                "(Rad)Schlag_cartwheel_f_cm_np1_le_med_0.avi 1 \ngone_cartwheel_f_cm_np1_le_med_1.avi 2 \n"
            ),
            "testTrainMulti_7030_splits/brush_hair_test_split2.txt": "",
        },
    )
    listing = lay_out(top)
    found = {path.rpartition("/")[2]: row for path, row in rows(listing).items()}
    assert [found[name]["split"] for name in names] == ["train", "test", "unused"]
    assert [found[name]["group"] for name in names] == ["April_09", "#20_Rhythm", "Aussie_Brunette"]
    assert found["(Rad)Schlag_cartwheel_f_cm_np1_le_med_0.avi"]["label"] == "cartwheel"
    assert listing.missing[0][0] == "cartwheel/gone_cartwheel_f_cm_np1_le_med_1.avi"
    assert listing.evidence.startswith("HMDB51 split 1: testTrainMulti_7030_splits/brush_hair_test_split1.txt, ")
    assert "2 train / 2 test / 1 unused listed, 4 found" in listing.evidence
    with pytest.raises(DataError, match=r"no \*_test_split3.txt"):
        lay_out(top, options=LayoutOptions(split=3))


def test_hmdb51_lists_without_part_are_told(make):
    top = make("x/a.avi", notes={"x_test_split1.txt": "a.avi 7\n"})
    with pytest.raises(DataError, match=r"x_test_split1.txt: 'a.avi 7' does not end in 0, 1 or 2"):
        lay_out(top, "hmdb51")


KINETICS_HEAD = "label,youtube_id,time_start,time_end,split\n"


def test_kinetics(make, rows):
    videos = (
        "train/arm wrestling/--6bJUbfpnQ_000017_000027.mp4",
        "train/arm wrestling/--6bJUbfpnQ_000040_000050.mp4",
        "val/-0IErS_cisg_000100_000110.mp4",
        "test/abcdefghijk_000000_000010.mp4",
    )
    notes = {
        "annotations/train.csv": (
            f'{KINETICS_HEAD}"arm wrestling",--6bJUbfpnQ,17,27,train\narm wrestling,--6bJUbfpnQ,40,50,train\n'
            "yoga,gone1234567,0,10,train\n"
        ),
        "annotations/validate.csv": f'{KINETICS_HEAD}"dancing, slow",-0IErS_cisg,100.0,110.0,validate\n',
        "annotations/test.csv": "youtube_id,time_start,time_end\nabcdefghijk,0,10\n",
        "notes.csv": "who,what\n",
    }
    listing = lay_out(make(*videos, notes=notes))
    wrestling = {"label": "arm wrestling", "split": "train", "group": "--6bJUbfpnQ"}
    assert rows(listing) == {
        videos[0]: wrestling,
        videos[1]: wrestling,
        videos[2]: {"label": "dancing, slow", "split": "val", "group": "-0IErS_cisg"},
        videos[3]: {"split": "test", "group": "abcdefghijk"},
    }
    assert listing.missing == [("gone1234567_000000_000010.mp4", "listed in train.csv, but there is no such file")]
    assert "1 test / 3 train / 1 val listed, 4 found" in listing.evidence


def test_kinetics_listed_twice(make, rows):
    line = "yoga,abcdefghijk,0,10,"
    notes = {"a.csv": f"{KINETICS_HEAD}{line}train\n", "b.csv": f"{KINETICS_HEAD}{line}train\n"}
    assert len(lay_out(make("abcdefghijk_000000_000010.mp4", notes=notes)).rows) == 1
    with pytest.raises(
        DataError, match=r"c.csv: abcdefghijk_000000_000010.mp4 is listed for 'test' here and for 'train'"
    ):
        lay_out(make(notes={"c.csv": f"{KINETICS_HEAD}{line}test\n"}))


def something(make, **changes):
    entry = {
        "id": "78687",
        "label": "holding potato next to vicks",
        "template": "Holding [something] next to [something]",
        "placeholders": ["potato", "vicks"],
    }
    notes = {
        "labels/something-something-v2-train.json": json.dumps([entry | changes]),
        "labels/something-something-v2-validation.json": json.dumps([entry | {"id": "5"}, entry | {"id": "6"}]),
        "labels/something-something-v2-test.json": json.dumps([{"id": "7"}]),
        "labels/something-something-v2-labels.json": json.dumps({"Holding something next to something": "11"}),
    }
    return make("20bn/78687.webm", "20bn/5.webm", "20bn/7.mp4", notes=notes)


def test_something_something(make, rows):
    label = {"label": "Holding something next to something", "text": "holding potato next to vicks"}
    listing = lay_out(something(make))
    assert rows(listing) == {
        "20bn/78687.webm": label | {"split": "train"},
        "20bn/5.webm": label | {"split": "val"},
        "20bn/7.mp4": {"split": "test"},
    }
    assert listing.layout == "ssv2" and listing.missing[0][0] == "6"
    (something(make) / "labels" / "test-answers.csv").write_text("7;Holding something next to something\n")
    assert rows(lay_out(something(make)))["20bn/7.mp4"]["label"] == label["label"]


def test_a_template_that_the_labels_lack_is_told(make):
    with pytest.raises(
        DataError, match=r"train.json: the template 'Eating something' of video 78687 is not in the lab"
    ):
        lay_out(something(make, template="Eating [something]"))


def test_diving48(make, rows):
    dive = {"vid_name": "RLkI4p_00183", "label": 1, "start_frame": 0, "end_frame": 160}
    notes = {
        "Diving48_V2_train.json": json.dumps([dive]),
        "Diving48_V2_test.json": json.dumps([dive | {"vid_name": "8zyh_00000", "label": 0, "start_frame": 5}]),
        "Diving48_train.json": json.dumps([dive | {"label": 40}]),
        "Diving48_vocab.json": json.dumps([["Back", "15som", "05Twis", "FREE"], ["Inward", "25som", "NoTwis", "PIKE"]]),
    }
    listing = lay_out(make("rgb/RLkI4p_00183.mp4", "rgb/8zyh_00000.mp4", notes=notes))
    assert rows(listing) == {
        "rgb/RLkI4p_00183.mp4": {
            "label": "Inward 25som NoTwis PIKE",
            "split": "train",
            "group": "RLkI4p",
            "start_frame": 0,
            "end_frame": 160,
        },
        "rgb/8zyh_00000.mp4": {
            "label": "Back 15som 05Twis FREE",
            "split": "test",
            "group": "8zyh",
            "start_frame": 5,
            "end_frame": 160,
        },
    }
    assert listing.evidence.startswith("Diving48 V2: ")


def test_broken_json_is_told(make):
    top = make("rgb/a.mp4", notes={"Diving48_V2_train.json": "[{"})
    with pytest.raises(DataError, match=r"Diving48_V2_train.json: is no JSON"):
        lay_out(top)
