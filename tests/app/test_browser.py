"""The page in a real browser. `AUDIOFORMER_SCREENSHOT=docs/space.png` keeps the picture for the README."""

import os
import re
from pathlib import Path
from urllib.parse import urlparse

import pytest
from PIL import Image
from transformers import pipeline

from audioformer.app.page import write_examples
from audioformer.classify import classify_file
from audioformer.model_cards import TINY_ESC10

from ..requirements import import_or_skip, program_or_skip
from .common import APP, running_page, write_bad, write_event

import_or_skip("gradio", "the page needs Gradio: pip install '.[app]'")
playwright = import_or_skip("playwright.sync_api", "playwright drives the browser: pip install playwright")
expect = playwright.expect

CHROMIUM = program_or_skip(
    ("chromium", "chromium-browser", "google-chrome"), "there is no Chromium here: apt-get install chromium"
)

NOTE_WHAT_IS_PLAYED = """
    window.played = [];
    const play = HTMLMediaElement.prototype.play;
    HTMLMediaElement.prototype.play = function () { window.played.push(this); return play.call(this); };
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url():
    with running_page([*APP, "--device", "cpu"]) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser():
    # The sandbox refuses to run as root, as CI does; the fake microphone beeps once a second.
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as driver:
        expect.set_options(timeout=30_000)
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, url):
    """The page, opened. Whatever a test does, no script may fail, and nothing may be fetched from elsewhere."""
    tab = browser.new_page(viewport={"width": 1100, "height": 700}, color_scheme="light")
    tab.set_default_timeout(30_000)
    requested, failures = [], []
    tab.on("request", lambda request: requested.append(request.url))
    tab.on("pageerror", lambda error: failures.append(str(error)))
    tab.add_init_script(NOTE_WHAT_IS_PLAYED)
    tab.goto(url)
    tab.get_by_text("Upload or record a sound").wait_for()
    yield tab
    tab.close()
    assert not failures
    assert {urlparse(address).hostname for address in requested if address.startswith("http")} == {"127.0.0.1"}


def upload(page, file: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(file)


def width_of_picture(page, name: str) -> int:
    picture = page.locator(f"#{name} img")
    picture.wait_for()
    return picture.evaluate("image => image.decode().then(() => image.naturalWidth)")


def test_an_uploaded_file_is_labelled(page, tmp_path):
    file = write_event(tmp_path / "knocks.wav")
    scores = classify_file(file, pipeline("audio-classification", model=str(TINY_ESC10))).scores
    label, score = next(iter(scores.items()))
    upload(page, file)
    expect(page.locator("#scores")).to_contain_text(re.compile(rf"{label}\s*{label}\s*{score:.0%}"))
    expect(page.locator("#message")).to_contain_text(f"{label} ({score:.3f}) is the best label for knocks.wav")
    assert width_of_picture(page, "waveform") > 500 and width_of_picture(page, "model-input") > 500
    assert not page.locator("#labels-over-time").is_visible() and not page.locator("#table").is_visible()


def test_a_long_file_has_labels_over_time_and_windows_to_play_and_the_page_has_its_picture_taken(page, tmp_path):
    file = write_examples(tmp_path)[-1]
    windows = classify_file(file, pipeline("audio-classification", model=str(TINY_ESC10))).windows
    upload(page, file)
    for window in windows:
        label, score = next(iter(window.scores.items()))
        row = re.compile(rf"{round(window.start_s, 3):g}\s*{round(window.end_s, 3):g}\s*{label}\s*{score:.3f}")
        expect(page.locator("#table")).to_contain_text(row)
    assert all(width_of_picture(page, name) > 500 for name in ("waveform", "model-input", "labels-over-time"))
    first_window = page.locator("#model-input img").get_attribute("src")
    assert not page.locator("#window").is_visible() and page.evaluate("window.played.length") == 0
    start_s, end_s = (f"{round(seconds, 3):g}" for seconds in (windows[-1].start_s, windows[-1].end_s))
    page.locator("#table").get_by_role("gridcell", name=start_s, exact=True).click()
    expect(page.locator("#window")).to_contain_text(f"Window from {start_s} to {end_s} s")
    page.wait_for_function(
        "seconds => window.played.some(sound => Math.abs(sound.duration - seconds) < 0.01 && sound.currentTime > 0)",
        arg=windows[-1].end_s - windows[-1].start_s,
    )
    expect(page.locator("#model-input img")).not_to_have_attribute("src", first_window)
    page.locator("#message").click()  # takes the pointer off the player
    picture = Path(os.environ.get("AUDIOFORMER_SCREENSHOT") or tmp_path / "page.png")
    page.screenshot(path=picture, full_page=True, animations="disabled")
    with Image.open(picture) as image:
        assert image.width == 1100 and image.height > 1200
        assert len(set(image.convert("RGB").resize((110, 150)).get_flattened_data())) > 100


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "text.wav cannot be read as sound"),
        ("nan", "nan.wav holds NaN"),
        ("empty", "empty.wav is an empty file"),
    ],
)
def test_a_bad_file_gets_a_message(page, tmp_path, kind, message):
    upload(page, write_event(tmp_path / "knocks.wav"))
    page.locator("#model-input img").wait_for()
    page.get_by_label("Clear").first.click()
    page.locator("#model-input img").wait_for(state="hidden")
    upload(page, write_bad(tmp_path, kind))
    expect(page.locator("#message")).to_contain_text(f"This sound was not classified. {message}")
    expect(page.locator("#scores")).not_to_contain_text("clock_tick")
    assert "Traceback" not in page.content() and str(tmp_path) not in page.content()


def test_a_file_that_names_itself_no_sound_gets_a_message(page, tmp_path):
    (tmp_path / "letter.txt").write_text("dear reader")
    upload(page, tmp_path / "letter.txt")
    page.get_by_text("Invalid file type: letter.txt").wait_for()


def test_a_file_that_is_too_large_gets_a_message(page, tmp_path):
    upload(page, write_bad(tmp_path, "too_large"))
    page.get_by_text("exceed the maximum allowed size").wait_for()
    expect(page.locator("#message")).to_contain_text("Upload or record")


def test_an_example_is_labelled_with_a_click(page):
    page.get_by_role("button", name="knocks speeding up").click()
    expect(page.locator("#scores")).to_contain_text("clock_tick")


def test_a_recording_is_labelled(page):
    page.get_by_label("Record audio").click()
    page.get_by_role("button", name="Record", exact=True).last.click()
    page.wait_for_timeout(2000)
    page.get_by_role("button", name="Stop", exact=True).first.click()
    expect(page.locator("#message")).to_contain_text("is the best label for")
    assert width_of_picture(page, "model-input") > 500
