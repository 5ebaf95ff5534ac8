"""The page's handlers, its figures, and the page over HTTP, without a browser."""

import socket
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audioformer.app import page as app_page
from audioformer.app.figures import NUM_MEL_BANDS, draw_labels_over_time, draw_waveform, draw_window, mel_spectrogram
from audioformer.app.sound_classifier import HeardWindow, SoundClassifier
from audioformer.classify import WindowScores
from audioformer.commands import app as app_command
from audioformer.training.families import ClipView

from ..requirements import import_or_skip
from .common import BAD, SAMPLING_RATE, write_bad, write_event, write_noise

gradio_client = import_or_skip("gradio_client", "the page needs Gradio: pip install '.[app]'")


@pytest.fixture(scope="module")
def classifier() -> SoundClassifier:
    return SoundClassifier()


@pytest.fixture
def page(classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # so that it is as it was afterwards
    with app_page.serve(classifier, tmp_path / "served", port=free_port()) as running:
        yield running


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def client_of(page, tmp_path: Path):
    return gradio_client.Client(
        page.local_url, download_files=str(tmp_path / "client"), verbose=False, analytics_enabled=False
    )


def uploads(tmp_path: Path, name: str) -> list[Path]:
    return list((tmp_path / "served" / "uploads").rglob(name))


def test_a_short_sound_has_labels_and_pictures_but_nothing_over_time(classifier, tmp_path):
    message, scores, waveform, codes, over_time, rows = app_page.show(write_event(tmp_path / "knocks.wav"), classifier)
    assert "clock\\_tick" in message and "knocks\\.wav" in message
    assert max(scores, key=scores.get) == "clock_tick" and sum(scores.values()) == pytest.approx(1.0, abs=1e-5)
    assert waveform is not None and codes is not None
    assert over_time is None and rows is None


def test_a_long_sound_has_a_row_for_each_window(classifier, tmp_path):
    file = write_noise(tmp_path / "noise.wav", 24.0)
    *_, over_time, rows = app_page.show(file, classifier)
    assert over_time is not None
    windows = classifier(file).scores.windows
    assert [row[:2] for row in rows] == [[0, 10], [10, 20], [14, 24]]
    assert [row[2] for row in rows] == [max(window.scores, key=window.scores.get) for window in windows]
    assert [row[3] for row in rows] == pytest.approx([max(w.scores.values()) for w in windows], abs=5e-4)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_upload_gives_a_message_and_nothing_else(classifier, tmp_path, kind):
    message, *others = app_page.show(str(write_bad(tmp_path, kind)), classifier)
    assert rendered(message).startswith(f"<p>⚠️ This sound was not classified. {BAD[kind]}")
    assert str(tmp_path) not in message and "Traceback" not in message
    assert others == [None] * 5


def test_no_upload_gives_a_hint(classifier):
    message, *others = app_page.show(None, classifier)
    assert message.startswith("Upload or record") and others == [None] * 5


def rendered(markdown: str) -> str:
    from markdown_it import MarkdownIt

    return MarkdownIt("gfm-like", {"linkify": False}).render(markdown)


def test_the_name_of_a_file_is_text_and_not_markup(classifier, tmp_path):
    name = "**x**`y` [z](w) <img src=x onerror=alert(1)> ~~a~~ $$b$$ #1.wav"
    file = tmp_path / name
    file.write_text("no sound")
    message = rendered(app_page.show(str(file), classifier)[0])
    assert "<img" not in message and "<strong>" not in message and "<a " not in message and "<s>" not in message
    assert "**x**`y` [z](w) &lt;img src=x onerror=alert(1)&gt; ~~a~~ $$b$$ #1.wav cannot be read as sound" in message


def test_the_waveform_is_drawn_between_its_extremes():
    waveform = np.zeros(20 * SAMPLING_RATE, dtype=np.float32)
    waveform[7 * SAMPLING_RATE], waveform[13 * SAMPLING_RATE] = 0.9, -0.7
    (axes,) = draw_waveform(waveform, SAMPLING_RATE).axes
    (band,) = axes.collections
    points = band.get_paths()[0].vertices
    assert points[:, 1].max() == pytest.approx(0.9) and points[:, 1].min() == pytest.approx(-0.7)
    assert points[points[:, 1].argmax(), 0] == pytest.approx(7.0, abs=0.02)
    assert axes.get_xlim() == (0, 20)
    assert draw_waveform(waveform[:1], SAMPLING_RATE).axes


def test_the_image_of_codes_holds_the_codes_below_the_spectrogram():
    codes = np.random.default_rng(0).integers(0, 1024, (4, 75))
    waveform = np.random.default_rng(0).standard_normal(SAMPLING_RATE).astype(np.float32)
    view = ClipView(codes, "Codes", ["C1", "C2", "C3", "C4"])
    above, below, *_ = draw_window(HeardWindow(2.0, 3.0, waveform, SAMPLING_RATE, view)).axes
    np.testing.assert_array_equal(below.images[0].get_array(), codes)
    assert [text.get_text() for text in below.get_yticklabels()] == ["C1", "C2", "C3", "C4"]
    assert below.get_title(loc="left") == "Codes; 2.00 to 3.00 s"
    np.testing.assert_array_equal(above.images[0].get_array(), mel_spectrogram(waveform, SAMPLING_RATE))
    assert above.get_title(loc="left") == "Mel spectrogram; 2.00 to 3.00 s"
    for axes in (above, below):
        assert axes.get_xlim() == (2, 3) and axes.images[0].get_extent()[:2] == [2, 3]
    # One is above the other.
    assert above.get_position().y0 > below.get_position().y0


def test_a_model_without_a_view_has_its_spectrogram():
    waveform = np.zeros(100, dtype=np.float32)
    axes, colors = draw_window(HeardWindow(0.0, 100 / SAMPLING_RATE, waveform, SAMPLING_RATE, None)).axes
    assert axes.get_title(loc="left").startswith("Mel spectrogram") and axes.get_xlabel() == "time (s)"


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("frequency", [300.0, 1000.0, 3500.0])
def test_a_tone_is_loudest_in_its_band(sampling_rate, frequency):
    seconds = np.arange(sampling_rate) / sampling_rate
    levels = mel_spectrogram(np.sin(2 * np.pi * frequency * seconds), sampling_rate)
    assert levels.shape[0] == NUM_MEL_BANDS and levels.max() == pytest.approx(0, abs=1e-5) and levels.min() >= -80.01
    mels = np.linspace(0, 2595 * np.log10(1 + sampling_rate / 2 / 700), NUM_MEL_BANDS + 2)[1:-1]
    nearest = np.abs(700 * (10 ** (mels / 2595) - 1) - frequency).argmin()
    assert abs(int(levels.mean(axis=1).argmax()) - nearest) <= 1


@pytest.mark.parametrize("frequency", [250, 1000, 4000, 8000])
def test_the_frequencies_of_a_spectrogram_are_where_the_axis_says(frequency):
    tone = np.sin(2 * np.pi * frequency * np.arange(SAMPLING_RATE) / SAMPLING_RATE)
    axes = draw_window(HeardWindow(0.0, 1.0, tone, SAMPLING_RATE, None)).axes[0]
    labels = {
        text.get_text(): position for text, position in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
    }
    loudest = axes.images[0].get_array().mean(axis=1).argmax() + 0.5
    assert labels[f"{frequency:,} Hz"] == pytest.approx(loudest, abs=1.0)


@pytest.mark.parametrize("num_samples", [1, 10, 100_000, 3_000_000])
def test_spectrograms_of_any_length_are_small_and_hear_every_sample(num_samples):
    click = np.zeros(num_samples, dtype=np.float32)
    click[num_samples * 7 // 10] = 1.0
    levels = mel_spectrogram(click, SAMPLING_RATE)
    assert 1 <= levels.shape[1] <= 2001
    assert levels.max() > levels.min() or num_samples <= 10


def test_silence_has_a_spectrogram():
    levels = mel_spectrogram(np.zeros(SAMPLING_RATE, dtype=np.float32), SAMPLING_RATE)
    assert np.isfinite(levels).all() and levels.max() == levels.min()


def test_a_window_that_is_clicked_is_played_and_shown(classifier, tmp_path):
    file = write_noise(tmp_path / "noise.wav", 24.0)
    *_, rows = app_page.show(file, classifier)
    message, (rate, samples), figure = app_page.play(str(file), rows[2], classifier)
    expected, _ = soundfile.read(file, dtype="float32")
    np.testing.assert_allclose(samples / 32767, expected[14 * SAMPLING_RATE :], atol=1 / 32767)
    assert message is None and rate == SAMPLING_RATE and samples.dtype == np.int16
    assert figure.axes[1].get_title(loc="left") == "Codes; the model reads C1, C2, C3, C4; 14.00 to 24.00 s"


@pytest.mark.parametrize("row", [[-1, 5], [0, 30], [5, 5], [float("nan"), 5], [0, float("inf")], [40, 50], ["x", 5]])
def test_what_is_no_window_gets_a_message(classifier, tmp_path, row):
    file = write_noise(tmp_path / "noise.wav", 12.0)
    message, *others = app_page.play(str(file), row, classifier)
    assert "This window cannot be played" in message and str(tmp_path) not in message and others == [None, None]


def test_files_that_are_not_accepted_are_not_played_either(classifier, tmp_path):
    message, *others = app_page.play(str(write_bad(tmp_path, "two_hours")), [0, 10], classifier)
    assert "up to 10 minutes are accepted" in message and others == [None, None]


def test_a_window_that_cannot_be_played_gets_a_message(classifier, tmp_path):
    file = write_noise(tmp_path / "noise.wav", 12.0)
    *_, rows = app_page.show(file, classifier)
    assert app_page.play(None, rows[0], classifier) == (app_page.show(None, classifier)[0], None, None)
    file.write_text("no sound any more")
    message, *others = app_page.play(str(file), rows[0], classifier)
    assert "cannot be played" in message and str(tmp_path) not in message and others == [None, None]
    file.unlink()
    message, *others = app_page.play(str(file), rows[0], classifier)
    assert rendered(message) == "<p>⚠️ This window cannot be played. noise.wav was deleted: upload it again.</p>\n"
    assert others == [None, None]


def test_labels_over_time_lie_where_their_windows_are():
    windows = [WindowScores(0, 10, {"a": 0.9, "b": 0.1}), WindowScores(10, 13, {"b": 0.8, "a": 0.2})]
    axes, _ = draw_labels_over_time(windows, ["a", "b"]).axes
    (mesh,) = axes.collections
    np.testing.assert_allclose(mesh.get_array(), [[0.9, 0.2], [0.1, 0.8]])
    assert axes.get_xlim() == (0, 13)
    np.testing.assert_array_equal(mesh.get_coordinates()[0, :, 0], [0, 10, 13])
    windows = [WindowScores(0, 10, {"a": 0.9, "b": 0.1}), WindowScores(3, 13, {"b": 0.8, "a": 0.2})]
    (mesh,) = draw_labels_over_time(windows, ["a", "b"]).axes[0].collections
    np.testing.assert_allclose(mesh.get_array(), [[0.9, 0.55, 0.2], [0.1, 0.45, 0.8]])
    np.testing.assert_array_equal(mesh.get_coordinates()[0, :, 0], [0, 3, 10, 13])


def test_labels_lie_from_top_to_bottom():
    windows = [WindowScores(0, 10, {"a": 0.9, "b": 0.1}), WindowScores(10, 13, {"b": 0.8, "a": 0.2})]
    axes, _ = draw_labels_over_time(windows, ["a", "b"]).axes
    top, bottom = (axes.transData.transform((0, row))[1] for row in (0.5, 1.5))
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"] and top > bottom


def test_examples_are_the_same_every_time(tmp_path):
    first, again = (app_page.write_examples(tmp_path / name) for name in "ab")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in again]
    assert len(first) > 3


@pytest.mark.slow
def test_examples_are_heard(classifier, tmp_path):
    shown = [app_page.show(file, classifier) for file in app_page.write_examples(tmp_path)]
    assert all(scores is not None for _, scores, *_ in shown)
    assert [rows is not None for *_, rows in shown] == [False] * (len(shown) - 1) + [True]


@pytest.mark.slow
def test_uploads_over_http_get_labels_or_a_message(page, tmp_path):
    client = client_of(page, tmp_path)
    good = gradio_client.handle_file(str(write_event(tmp_path / "knocks.wav")))
    message, scores, *_ = client.predict(good, api_name="/classify")
    assert scores["label"] == "clock_tick" and "knocks" in message
    for kind in ("text", "nan", "two_hours"):
        bad = gradio_client.handle_file(str(write_bad(tmp_path, kind)))
        message, scores, *_ = client.predict(bad, api_name="/classify")
        assert "was not classified" in message and not scores
    served = str(tmp_path / "served")
    assert served not in message


@pytest.mark.slow
def test_uploads_that_are_too_large_are_cut_off_and_leave_nothing(page, tmp_path):
    import httpx

    with httpx.Client(base_url=page.local_url, trust_env=False) as client:
        file = write_bad(tmp_path, "too_large")
        answer = client.post("gradio_api/upload", files={"files": (file.name, file.read_bytes())})
        assert answer.status_code == 413
        assert client.post("gradio_api/upload", files={"files": ("small.wav", b"1234")}).status_code == 200
    assert uploads(tmp_path, "small.wav") and not uploads(tmp_path, "too_large.wav")
    left_behind = [
        f for f in Path(tempfile.gettempdir()).glob("tmp*") if f.is_file() and f.stat().st_size > 40_000_000
    ]
    assert not [f for f in left_behind if time.time() - f.stat().st_mtime < 10]


@pytest.mark.slow
def test_uploads_are_deleted_after_a_while_and_examples_are_not(classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr(app_page, "KEEP_UPLOADS_S", 1)
    monkeypatch.setattr(app_page, "CLEANING_INTERVAL_S", 1)
    with app_page.serve(classifier, tmp_path / "served", port=free_port()) as page:
        upload = gradio_client.handle_file(str(write_event(tmp_path / "secret.wav")))
        client_of(page, tmp_path).predict(upload, api_name="/classify")
        deadline = time.monotonic() + 20
        while uploads(tmp_path, "secret.wav") and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not uploads(tmp_path, "secret.wav")
        assert uploads(tmp_path, "siren.wav")


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(page, classifier, tmp_path):
    port = int(page.local_url.rstrip("/").rsplit(":", 1)[1])
    with pytest.raises(ValueError, match=f"`--port` {port} cannot be used"):
        app_page.serve(classifier, tmp_path / "other", port=port).__enter__()


def test_without_gradio_the_command_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r'pip install "audioformer\[app\]"'):
        app_command.run(app_command.parse([]))


@pytest.mark.parametrize("arguments", [["--max-mb", "0"], ["--max-minutes", "nan"], ["--window-s", "-1"]])
def test_wrong_limits_are_refused_by_the_command(arguments):
    with pytest.raises(ValueError, match="must be more than 0"):
        app_command.run(app_command.parse(arguments))
