import io
import math
import subprocess
import sys

import pytest

from kinema.training.display import Display, Progress, duration_in_words, panel, plain_line, wait_hint


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def step(number: int, *, seconds: float | None = None, **changes: object) -> dict[str, object]:
    record: dict[str, object] = {
        "event": "step",
        "step": number - 1,
        "epoch": number // 10,
        "loss": 2.5,
        "parts": {"motion": 2.0, "appearance": 0.5},
        "lr": 5e-4,
        "grad_norm": 1.0,
        "clips_per_second": 80.0,
        "wait_share": 0.07,
        "seconds": float(number) if seconds is None else seconds,
    }
    return record | changes


START = {"event": "start", "method": "sts", "samples": 100, "steps": 1000, "parameters": 5}


def render(progress: Progress, width: int = 120) -> str:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=width).print(panel(progress))
    return stream.getvalue()


def progress_of(*records: dict[str, object]) -> Progress:
    progress = Progress()
    for record in records:
        progress.update(record)
    return progress


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599, "1 h 0 min"),
        (12000, "3 h 20 min"),
        (86400 * 2 + 3600 * 4, "2 d 4 h"),
        (math.nan, "unknown"),
    ],
)
def test_durations_read_like_speech(seconds, words):
    assert duration_in_words(seconds) == words


def test_time_left_follows_the_pace_of_the_recorded_steps():
    progress = progress_of(START, step(10, seconds=100.0), step(20, seconds=120.0))
    assert progress.seconds_per_step == pytest.approx(2.0)
    assert progress.seconds_left == pytest.approx(980 * 2.0)


def test_time_left_is_unknown_before_two_steps_and_after_a_resume_whose_clock_restarts():
    assert math.isnan(progress_of(START, step(500, seconds=3.0)).seconds_left)
    resumed = progress_of(START, step(10, seconds=10.0), step(20, seconds=20.0), step(15, seconds=1.0))
    assert resumed.seconds_per_step == pytest.approx(1.0)


def test_plain_line_holds_every_number_a_person_asks_for():
    line = plain_line(progress_of(START, step(10), step(20), {"event": "quarantine", "path": "a", "reason": "b"}))
    for piece in ("step 20/1,000", "epoch 2", "loss 2.5 (motion 2, appearance 0.5)", "80.0 clips/s", "7% of the time"):
        assert piece in line
    for piece in ("lr 0.0005", "16 min left", "1 file(s) set aside"):
        assert piece in line


def test_waiting_is_hinted_at_only_above_the_limit():
    assert wait_hint(0.3) is None
    assert wait_hint(math.nan) is None
    assert "45%" in wait_hint(0.45)
    assert "raise workers=" in wait_hint(0.45)


def test_a_pipe_gets_one_line_per_interval_and_the_last_step():
    stream, clock = io.StringIO(), Clock()
    with Display(stream=stream, interval=5.0, clock=clock) as display:
        display.step(START)
        for number in range(1, 13):
            clock.now = float(number)
            display.step(step(number))
    lines = stream.getvalue().splitlines()
    assert [line.split("/")[0] for line in lines] == ["step 1", "step 6", "step 11", "step 12"]


@pytest.mark.parametrize(("short", "lines"), [(0, 0), (1200, 1)])
def test_what_is_too_short_is_said_at_the_start(short, lines):
    stream = io.StringIO()
    with Display(stream=stream) as display:
        display.step({**START, "short": short})
    assert stream.getvalue().count("left out: 1,200 videos or windows, too short for this method") == lines


def test_a_pipe_says_warnings_at_once_and_the_waiting_hint_once():
    stream, clock = io.StringIO(), Clock()
    with Display(stream=stream, interval=1.0, clock=clock) as display:
        for number in range(1, 5):
            clock.now = float(number)
            display.step(step(number, wait_share=0.5))
        display.step({"event": "health", "step": 4, "verdict": "All is well.", "level": "good"})
        display.step({"event": "health", "step": 4, "verdict": "The features have collapsed.", "level": "bad"})
        display.step({"event": "quarantine", "path": "x.mp4", "reason": "truncated"})
        display.step({"event": "skipped", "step": 4, "reason": "nothing could be read"})
    text = stream.getvalue()
    assert text.count("The network waits for videos 50% of the time") == 1
    assert "health: The features have collapsed." in text
    assert "All is well" not in text
    assert "set aside: x.mp4: truncated" in text
    assert "step 5 left out: nothing could be read" in text
    assert "\x1b" not in text


def test_panel_shows_hint_health_and_files_and_is_not_fooled_by_markup():
    progress = progress_of(START, step(10, wait_share=0.62), {"event": "quarantine", "path": "a", "reason": "b"})
    progress.update({"event": "health", "verdict": "[red]spread[/red]", "level": "warning"})
    progress.update({"event": "validation", "step": 10, "loss": 3.25, "parts": {}})
    text = render(progress)
    for piece in ("sts", "step 10/1,000", "62% of the time", "[red]spread[/red]", "1 unreadable file(s)", "3.25"):
        assert piece in text


def test_panel_is_readable_before_the_first_step():
    assert "training" in render(Progress(), width=60)


def test_a_terminal_gets_a_panel_and_messages_above_it():
    stream = Terminal()
    with Display(stream=stream) as display:
        display.step(START)
        display.step(step(10))
        display.message("checkpoint [bold]written\x1b[2J")
    text = stream.getvalue()
    assert "checkpoint [bold]written[2J" in text
    assert "80.0 clips/s" in text
    assert text.endswith("\x1b[?25h"), "the cursor must be given back"


def test_the_cursor_is_given_back_when_training_fails():
    stream = Terminal()
    with pytest.raises(RuntimeError), Display(stream=stream):
        raise RuntimeError("boom")
    assert stream.getvalue().endswith("\x1b[?25h")


def test_importing_the_display_does_not_import_rich():
    code = "import sys, kinema.training.display; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
