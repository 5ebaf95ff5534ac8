"""What is behind the page, without the page: what a good file gives, and what a bad one is told."""

import numpy as np
import pytest
import soundfile
import torch
from transformers import EncodecModel, pipeline

from audioformer import (
    AudioFormerConfig,
    AudioFormerFeatureExtractor,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
)
from audioformer.app import sound_classifier
from audioformer.app.sound_classifier import SoundClassifier
from audioformer.classify import classify_file
from audioformer.model_cards import TINY_CODEC, TINY_ESC10

from ..feature_extraction.common import make_codec
from .common import BAD, SAMPLING_RATE, write_bad, write_event, write_noise


@pytest.fixture(scope="module")
def classifier() -> SoundClassifier:
    return SoundClassifier()


def test_scores_are_those_of_classify(classifier, tmp_path):
    file = write_noise(tmp_path / "noise.wav", 12.5, sampling_rate=16000, channels=2)
    assert classifier(file).scores == classify_file(file, pipeline("audio-classification", model=str(TINY_ESC10)))


def test_codes_are_those_of_transformers_encodec(classifier, tmp_path):
    shown = classifier(write_event(tmp_path / "event.wav"))
    waveform, _ = soundfile.read(tmp_path / "event.wav", dtype="float32")
    np.testing.assert_array_equal(shown.waveform, waveform)
    codec = EncodecModel.from_pretrained(TINY_ESC10 / "codec").eval()
    # The bundled classifier hears every clip at one level.
    levelled = waveform * np.float32(0.1 / np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    with torch.no_grad():
        expected = codec.encode(torch.from_numpy(levelled)[None, None], bandwidth=3.0).audio_codes[0, 0]
    np.testing.assert_array_equal(shown.heard.view.values, expected.numpy())
    assert shown.heard.end_s == pytest.approx(len(waveform) / SAMPLING_RATE)
    assert shown.heard.view.title == "Codes; the model reads C1, C2, C3, C4"


def test_the_codes_of_a_long_sound_are_those_of_its_first_window(tmp_path):
    shown = SoundClassifier(window_s=1.0)(write_noise(tmp_path / "noise.wav", 3.5))
    assert [window.end_s for window in shown.scores.windows] == pytest.approx([1.0, 2.0, 3.0, 3.5])
    assert [window.start_s for window in shown.scores.windows] == pytest.approx([0.0, 1.0, 2.0, 2.5])
    assert shown.heard.view.values.shape == (4, 75) and shown.heard.end_s == 1.0
    assert len(shown.waveform) == 3.5 * SAMPLING_RATE


@pytest.mark.parametrize("hop_s", [None, 0.4])
def test_the_waveform_is_whole_although_windows_overlap(tmp_path, hop_s):
    file = write_noise(tmp_path / "noise.wav", 3.6)
    expected, _ = soundfile.read(file, dtype="float32")
    classifier = SoundClassifier(window_s=1.0, hop_s=hop_s)
    shown = classifier(file)
    np.testing.assert_array_equal(shown.waveform, expected)
    assert shown.scores == classify_file(file, classifier.classifier, 1.0, hop_s=hop_s)
    last = shown.scores.windows[-1]
    heard = classifier.hear(file, last.start_s, last.end_s)
    np.testing.assert_array_equal(heard.waveform, expected[-SAMPLING_RATE:])
    assert heard.view.values.shape == (4, 75) and heard.sampling_rate == SAMPLING_RATE


def test_windows_farther_apart_than_their_length_are_refused():
    with pytest.raises(ValueError, match=r"`hop_s` must be more than 0 s and at most a window \(1 s\), got 2"):
        SoundClassifier(window_s=1.0, hop_s=2.0)


def test_a_codec_of_two_codebooks_shows_two(tmp_path):
    torch.manual_seed(0)
    extractor = AudioFormerFeatureExtractor(codec=make_codec(), codebooks=1, bandwidth=1.5)
    config = AudioFormerConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
        **extractor.model_config(),
    )
    AudioFormerForAudioClassification(config).save_pretrained(tmp_path / "model")
    extractor.save_pretrained(tmp_path / "model")
    classifier = SoundClassifier(str(tmp_path / "model"))
    shown = classifier(write_event(tmp_path / "event.wav"))
    assert shown.heard.view.channel_names == ["C1", "C2"] and shown.heard.view.title == "Codes; the model reads C2"
    assert classifier.labels == ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_by_name_and_without_their_folder(classifier, tmp_path, kind):
    with pytest.raises(ValueError) as refused:
        classifier(write_bad(tmp_path, kind))
    assert BAD[kind] in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("kind", ["two_hours", "absurd_rate", "many_channels", "too_large"])
def test_files_that_would_take_too_much_are_refused_before_a_sample_is_read(classifier, tmp_path, monkeypatch, kind):
    def read(*arguments):
        raise AssertionError("it was read")

    monkeypatch.setattr(sound_classifier, "read_windows", read)
    with pytest.raises(ValueError, match="accepted"):
        classifier(write_bad(tmp_path, kind))


def test_a_file_that_is_cut_off_is_classified_or_refused(classifier, tmp_path):
    whole = write_noise(tmp_path / "whole.flac", 5.0).read_bytes()
    for share in (0.01, 0.5, 0.99):
        cut = tmp_path / "cut.flac"
        cut.write_bytes(whole[: int(share * len(whole))])
        try:
            shown = classifier(cut)
        except ValueError as error:
            assert str(error).startswith("cut.flac")
        else:
            assert np.isfinite(list(shown.scores.scores.values())).all()


@pytest.mark.parametrize("samples", [1, 10])
def test_a_blip_is_classified(classifier, tmp_path, samples):
    soundfile.write(tmp_path / "blip.wav", np.full(samples, 0.1), 44100)
    assert classifier(tmp_path / "blip.wav").heard.view.values.shape == (4, 1)


def test_what_is_no_classifier_is_refused(tmp_path):
    config = AudioFormerConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    AudioFormerForMaskedLM(config).save_pretrained(tmp_path / "pretrained")
    with pytest.raises(ValueError, match="must be a classifier, not AudioFormerForMaskedLM"):
        SoundClassifier(str(tmp_path / "pretrained"))
    with pytest.raises(ValueError, match="is of the model type 'encodec'; known model families are audioformer"):
        SoundClassifier(str(TINY_CODEC))
    with pytest.raises(ValueError, match="does not exist"):
        SoundClassifier(str(tmp_path / "nothing"))


def test_a_classifier_without_its_extractor_is_refused(tmp_path):
    config = AudioFormerConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    AudioFormerForAudioClassification(config).save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="cannot be loaded"):
        SoundClassifier(str(tmp_path / "model"))


@pytest.mark.parametrize("name", ["window_s", "max_minutes", "max_mb"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_wrong_numbers_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be more than 0"):
        SoundClassifier(**{name: value})
