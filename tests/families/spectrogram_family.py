"""A model family that lives in the tests alone: a two-layer classifier of log spectrograms."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    BatchFeature,
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from audioformer.feature_extraction.waveforms import prepare_waveforms
from audioformer.training.arguments import FamilyArguments, size
from audioformer.training.examples.audio import AudioExampleSource
from audioformer.training.families import CardText, ClipView, Family


class ToyConfig(PreTrainedConfig):
    model_type = "toy_spectrogram"
    num_bins: int = 64
    hidden_size: int = 32


class ToyFeatureExtractor(SequenceFeatureExtractor):
    model_input_names = ["input_features"]

    def __init__(self, feature_size=64, sampling_rate=16000, padding_value=0.0, **kwargs):
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)

    def __call__(self, raw_speech, sampling_rate=None, padding=True, return_tensors=None, **kwargs):
        waveforms = prepare_waveforms(raw_speech, sampling_rate, self.sampling_rate)
        clips = [torch.from_numpy(w) for w in waveforms]
        power = [torch.stft(c, 126, 63, window=torch.hann_window(126), return_complex=True).abs() for c in clips]
        frames = [torch.log(p.T + 1e-3) for p in power]
        return BatchFeature({"input_features": nn.utils.rnn.pad_sequence(frames, batch_first=True)})


class ToyPreTrainedModel(PreTrainedModel):
    config_class, base_model_prefix, main_input_name = ToyConfig, "encoder", "input_features"


class ToyModel(ToyPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        sizes = [config.num_bins, config.hidden_size, config.hidden_size]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in zip(sizes, sizes[1:], strict=False))
        self.post_init()

    def forward(self, input_features):
        for layer in self.layers:
            input_features = layer(input_features).relu()
        return input_features.mean(dim=1)


class ToyForAudioClassification(ToyPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.encoder, self.classifier = ToyModel(config), nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_features, labels=None, **kwargs):
        logits = self.classifier(self.encoder(input_features))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


@dataclass
class ToyArguments(FamilyArguments):
    hidden_size: int = size(32, "Width of a fresh model.", "hidden_size")


def view_spectrogram(model, extractor, waveform) -> ClipView:
    return ClipView(extractor(waveform)["input_features"][0].T.numpy(), "Spectrogram")


FAMILY = Family(
    name=ToyConfig.model_type,
    card=CardText("Toy spectrogram", description="Log spectrograms are averaged by two layers."),
    config=ToyConfig,
    extractor=ToyFeatureExtractor,
    backbone=ToyModel,
    classifier=ToyForAudioClassification,
    examples=AudioExampleSource(ToyFeatureExtractor),
    arguments=ToyArguments,
    recipes=Path(__file__).parent / "recipes",
    view=view_spectrogram,
)


def register_auto_classes() -> None:
    AutoConfig.register(ToyConfig.model_type, ToyConfig, exist_ok=True)
    AutoFeatureExtractor.register(ToyConfig, ToyFeatureExtractor, exist_ok=True)
    AutoModelForAudioClassification.register(ToyConfig, ToyForAudioClassification, exist_ok=True)
