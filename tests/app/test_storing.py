"""pack, flow and verify from the command line: sizes first, budgets kept, what comes next said."""

import argparse

import pytest

from kinema.app.packing import format_bytes
from kinema.cli import main
from kinema.cli.storing import parse_bytes, parse_count, parse_part, parse_rate, parse_size, parse_workers
from kinema.data.opening import open_manifest


def test_packing_and_flow_lead_to_a_store_that_training_opens(tiny_videos, tmp_path, capsys):
    tiny_videos.write(tmp_path / "m.parquet")
    store, flow = tmp_path / "store", tmp_path / "flow"
    pack = ["pack", str(tmp_path / "m.parquet"), "-o", str(store), "--size", "24x32", "--workers", "0"]
    assert main([*pack, "--dry-run"]) == 0 and not store.exists()
    shown = capsys.readouterr().out
    assert "240 frames of 24x32 (height x width), raw: 557 kB in 1 files" in shown
    assert "next:" not in shown
    assert main([*pack, "--budget", "500kB"]) == 1 and not store.exists()
    assert "the budget is 500,000: raise --budget" in capsys.readouterr().err
    assert main([*pack, "--budget", "600kB"]) == 0
    assert f"next: kinema pretrain sts --data {store}" in capsys.readouterr().out
    assert main(["flow", str(store), "-o", str(flow), "--size", "24x32", "--workers", "0", "--stride", "2"]) == 0
    shown = capsys.readouterr().out
    assert "228 flow fields of 24x32 (height x width), intra: about" in shown
    assert f"next: kinema pretrain sts --data {flow} stride=2\n" in shown
    manifest = open_manifest(flow)
    assert manifest.file(0, "packed").resolve() == store.resolve() and manifest.file(0, "flow") == flow
    assert main(["verify", str(flow)]) == 0
    assert capsys.readouterr().out.endswith("whole\n")
    (data,) = flow.glob("*.bin")
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    assert main(["verify", str(flow)]) == 1
    assert "1 damages: remove the named files" in capsys.readouterr().out
    assert main(["flow", str(store), "-o", str(tmp_path / "x"), "--preset", "dis-slow"]) == 1
    assert "Did you mean" in capsys.readouterr().err
    assert main(["flow", str(store), "-o", str(tmp_path / "x"), "--size", "5x5"]) == 1
    assert "refuses frames of 5 x 5" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_damaged_file_that_was_removed_is_written_again(tiny_videos, tmp_path):
    tiny_videos.write(tmp_path / "m.parquet")
    pack = ["pack", str(tmp_path / "m.parquet"), "-o", str(tmp_path / "s"), "--size", "24x32", "--workers", "0"]
    assert main(pack) == 0
    (data,) = (tmp_path / "s").glob("*0.npy")
    before = data.read_bytes()
    data.unlink()
    assert main(pack) == 0 and data.read_bytes() == before


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parse_size, "128x171", (128, 171)),
        (parse_bytes, "20GB", 20 * 10**9),
        (parse_bytes, "1.5TiB", 3 * 2**39),
        (parse_bytes, "500 kb", 500_000),
        (parse_bytes, "77", 77),
        (parse_part, "2/4", (2, 4)),
        (parse_count, "3", 3),
        (parse_workers, "0", 0),
        (parse_rate, "12.5", 12.5),
    ],
)
def test_values_are_read(parse, text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_size, "128"),
        (parse_size, "0x171"),
        (parse_bytes, "many"),
        (parse_part, "0/4"),
        (parse_part, "5/4"),
        (parse_count, "0"),
        (parse_workers, "-1"),
        (parse_rate, "0"),
        (parse_rate, "nan"),
        (parse_rate, "fast"),
    ],
)
def test_other_values_are_refused(parse, text):
    with pytest.raises(argparse.ArgumentTypeError, match=text):
        parse(text)


def test_sizes_are_shown_for_a_person():
    assert [format_bytes(n) for n in (0, 999, 65_664, 1_050_624, 2 * 10**13)] == [
        "0 bytes",
        "999 bytes",
        "65.7 kB",
        "1.05 MB",
        "20 TB",
    ]
