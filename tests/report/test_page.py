"""The page as a whole: what stands where, what it must never hold, and what it says of missing or damaged parts."""

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from kinema.cli import build_parser
from kinema.data.manifest import Manifest
from kinema.errors import DataError
from kinema.report import page as page_module
from kinema.report import write_report
from kinema.report.clips import Budget, encode_clip
from kinema.report.gallery import video_row
from tests.report.runs import CLASSES, moving_square, write_evaluation, write_run, write_video

SECTIONS = ["health", "training", "pictures", "results", "gallery", "files", "recipe", "next"]
ATTACK = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Elements with their attributes, and the text outside style and script."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(self.source)
        self.text = " ".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(run: Path, **options: bool) -> Page:
    return Page(write_report(run, **options))


def test_sections_stand_in_order_and_every_link_finds_its_place(evaluated):
    page = report(evaluated)
    assert [section["id"] for section in page.all("section")] == SECTIONS
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in SECTIONS]
    assert page.open == []


def test_everything_the_page_loads_is_inside_it(evaluated):
    page = report(evaluated)
    for _, attributes in page.elements:
        loaded = {attributes.get(key) for key in ("src", "srcset", "data", "action", "poster")} - {None}
        assert all(address.startswith("data:image/") for address in loaded)
        assert (attributes.get("href") or "#").startswith("#")
    assert "http:" not in page.source
    assert "https:" not in page.source
    assert not {"link", "iframe", "object", "base"} & {name for name, _ in page.elements}
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_hostile_names_stay_text(run):
    (run / "recipe.yaml").write_text(f"method: '{ATTACK}'\n")
    lost = {"event": "quarantine", "path": f"clips/{ATTACK}.avi", "reason": ATTACK}
    (run / "quarantine.jsonl").write_text(json.dumps(lost) + "\n")
    (run / "pictures.json").write_text(json.dumps([{"title": ATTACK, "caption": ATTACK, "file": "00.webp"}]))
    write_evaluation(run)
    stored = run / "evaluation" / "clips" / "results.json"
    stored.write_text(stored.read_text().replace("pixels-mean-frame", ATTACK.replace('"', "'")))
    page = report(run)
    assert len(page.all("script")) == 1
    assert "alert" not in page.source.split("<script>")[1].split("</script>")[0]
    assert page.text.count('alert("x")') >= 5
    assert page.text.count("alert('x')") >= 1


def test_hostile_labels_stay_text(run):
    classes = [ATTACK, *CLASSES[1:]]
    write_evaluation(run, classes=classes, folders=CLASSES)
    page = report(run)
    assert len(page.all("script")) == 1
    assert ATTACK in page.words


def test_missing_parts_are_said_with_the_command(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("method: sts\n")
    page = report(run)
    assert [section["id"] for section in page.all("section")] == SECTIONS
    commands = [words for words in page.words if words.startswith("kinema ") and "--" in words]
    understood = [build_parser().parse_args(shlex.split(command)[1:]) for command in commands]
    assert {options.command for options in understood} == {"evaluate", "pretrain"}
    assert page.text.count(f"kinema evaluate {run} --data") == 4
    assert page.text.count(f"-o {run} --resume") == 1
    for words in ("Not evaluated yet", "No step has been logged", "have not been looked at", "drawn no pictures"):
        assert words in page.text


def test_a_finished_run_is_not_told_to_go_on(run):
    assert "--resume" not in report(run).text


def test_no_run_folder(tmp_path):
    with pytest.raises(DataError, match=r"recipe\.yaml"):
        write_report(tmp_path)


def test_redacted_pages_hold_no_picture_but_all_numbers(evaluated):
    open_page = report(evaluated)
    redacted = report(evaluated, redact=True)
    assert open_page.all("img")
    assert redacted.all("img") == []
    assert "base64" not in redacted.source
    assert "Redacted: all video frames were left out." in redacted.text
    assert len(redacted.all("td")) == len(open_page.all("td"))


def test_clips_play_and_are_marked_right_or_wrong(evaluated):
    page = report(evaluated)
    shown = [image for image in page.all("img") if (image["alt"] or "").startswith("clip of")]
    marks = [span["title"] for span in page.all("span") if span.get("class") in ("right", "wrong")]
    assert len(shown) == 8 * 6
    assert {image["class"] for image in shown} == {"clip"}
    assert len(marks) == 8 * 5
    # Features of a class are alike and each class has two videos: the first neighbour is the other one.
    assert marks[::5] == ["right"] * 8
    assert "wrong" in marks


def test_pages_keep_to_their_size(evaluated, monkeypatch):
    full = len(report(evaluated).source)
    without = len(report(evaluated, redact=True).source)
    limit = without + (full - without) // 2
    monkeypatch.setattr(page_module, "_TEXT_BYTES", without)
    monkeypatch.setattr(page_module, "PAGE_BYTES", limit)
    page = report(evaluated)
    assert without < len(page.source) < limit + 20_000  # places for what was left out take a few characters each
    assert re.search(r"\d+ picture\(s\) were left out to keep the page under", page.text)


def test_a_budget_counts_what_the_page_would_hold():
    picture = encode_clip(moving_square(4), rate=10)
    assert picture.cost <= len(picture.markup("")) <= picture.cost + 120
    budget = Budget(picture.cost)
    assert budget.take(picture, "first")
    assert not budget.take(picture, "second")
    assert budget.refused == ["second"]


def test_damaged_files_are_reported_not_fatal(evaluated):
    (evaluated / "evaluation" / "clips" / "results.json").write_text('{"rows": [')
    (evaluated / "pictures.json").write_text("[{]")
    with (evaluated / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "st\n[1, 2]\n{"event": "step", "loss": 1}\n')
    page = report(evaluated)
    for words in ("evaluation 'clips' cannot be read", "pictures.json cannot be read", "3 lines of metrics.jsonl"):
        assert words in page.text
    assert "600 of 600 steps" in page.text


def test_pictures_outside_the_folder_are_refused(run, tmp_path):
    (tmp_path / "01.webp").write_bytes((run / "pictures" / "00.webp").read_bytes())
    listed = [{"file": "../../01.webp", "title": "t"}, {"file": "00.webp", "title": "t"}]
    (run / "pictures.json").write_text(json.dumps(listed))
    page = report(run)
    assert len(page.all("img")) == 1
    assert "01.webp is listed but does not lie" in page.text


def test_the_recipe_is_shown_as_written(run):
    page = report(run)
    shown = next(words for words in page.words if words.startswith("method: sts"))
    assert yaml.safe_load(shown) == yaml.safe_load((run / "recipe.yaml").read_text())


def test_the_page_can_go_elsewhere(tmp_path):
    run = write_run(tmp_path / "run")
    out = tmp_path / "shared" / "page.html"
    assert write_report(run, out) == out
    assert not (run / "report.html").exists()


def test_vanished_videos_leave_their_place_and_a_reason(evaluated):
    lost = next((evaluated.parent / "videos").rglob("*.mp4"))
    lost.unlink()
    page = report(evaluated)
    blanks = [div for div in page.all("div") if div.get("class") == "blank"]
    assert blanks
    assert all(lost.name in (div["title"] or "") for div in blanks)


def test_stored_names_of_segments_give_their_bounds(tmp_path):
    write_video(tmp_path / "a b.mp4", moving_square(100))
    write_video(tmp_path / "take 1 2.mp4", moving_square(50))
    segment = Manifest.from_rows([video_row(tmp_path, "a b.mp4 1.5 3.0")], tmp_path)
    assert segment.bounds(0) == (1.5, 3.0)
    assert video_row(tmp_path, "take 1 2.mp4") == {"path": "take 1 2.mp4"}
    (tmp_path / "take 1 2").touch()
    assert video_row(tmp_path, "take 1 2") == {"path": "take 1 2"}
