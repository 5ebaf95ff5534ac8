"""The page's handlers, its figures, and the page over HTTP, without a browser."""

import socket
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from audioformer.app import page as app_page
from audioformer.app.figures import draw_labels_over_time, draw_view, draw_waveform
from audioformer.app.sound_classifier import SoundClassifier
from audioformer.classify import WindowScores
from audioformer.commands import app as app_command
from audioformer.training.families import ClipView

from .common import BAD, SAMPLING_RATE, write_bad, write_event, write_noise

gradio_client = pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install '.[app]'")


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
    assert [row[:2] for row in rows] == [[0, 10], [10, 20], [20, 24]]
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


def test_the_image_of_codes_holds_the_codes():
    codes = np.random.default_rng(0).integers(0, 1024, (4, 75))
    axes, _ = draw_view(ClipView(codes, "Codes", ["C1", "C2", "C3", "C4"]), 1.0).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), codes)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["C1", "C2", "C3", "C4"]
    assert axes.get_title(loc="left") == "Codes; 0 to 1.00 s"


def test_labels_over_time_lie_where_their_windows_are():
    windows = [WindowScores(0, 10, {"a": 0.9, "b": 0.1}), WindowScores(10, 13, {"b": 0.8, "a": 0.2})]
    axes, _ = draw_labels_over_time(windows, ["a", "b"]).axes
    (mesh,) = axes.collections
    np.testing.assert_array_equal(mesh.get_array(), [[0.9, 0.2], [0.1, 0.8]])
    assert axes.get_xlim() == (0, 13)
    np.testing.assert_array_equal(mesh.get_coordinates()[0, :, 0], [0, 10, 13])
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
