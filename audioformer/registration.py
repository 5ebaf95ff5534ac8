"""Registration of every model family with the Auto classes of transformers."""

from typing import Any

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoProcessor,
)

from audioformer.model_cards.push_hook import install

from .feature_extraction import (
    AudioFormerFeatureExtractor,
    BeatsFeatureExtractor,
    DashengFeatureExtractor,
    MaskSpecFeatureExtractor,
)
from .modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
)
from .modeling_beats import BeatsConfig, BeatsForAudioClassification, BeatsForMaskedAudioModeling, BeatsModel
from .modeling_dasheng import (
    DashengConfig,
    DashengForAudioClassification,
    DashengForPreTraining,
    DashengModel,
)
from .modeling_maskspec import (
    MaskSpecConfig,
    MaskSpecForAudioClassification,
    MaskSpecForPreTraining,
    MaskSpecModel,
)

FAMILIES: list[tuple[Any, Any, dict[Any, Any]]] = [
    (
        AudioFormerConfig,
        AudioFormerFeatureExtractor,
        {
            AutoModel: AudioFormerModel,
            AutoModelForMaskedLM: AudioFormerForMaskedLM,
            AutoModelForAudioClassification: AudioFormerForAudioClassification,
        },
    ),
    (
        BeatsConfig,
        BeatsFeatureExtractor,
        {
            AutoModel: BeatsModel,
            AutoModelForPreTraining: BeatsForMaskedAudioModeling,
            AutoModelForAudioClassification: BeatsForAudioClassification,
        },
    ),
    (
        DashengConfig,
        DashengFeatureExtractor,
        {
            AutoModel: DashengModel,
            AutoModelForPreTraining: DashengForPreTraining,
            AutoModelForAudioClassification: DashengForAudioClassification,
        },
    ),
    (
        MaskSpecConfig,
        MaskSpecFeatureExtractor,
        {
            AutoModel: MaskSpecModel,
            AutoModelForPreTraining: MaskSpecForPreTraining,
            AutoModelForAudioClassification: MaskSpecForAudioClassification,
        },
    ),
]
"""Configuration, feature extractor, and the model of each Auto class."""


def register_auto_classes() -> None:
    """Make the Auto classes know ours, make every save carry the code that loads it without this package, and let
    `push_to_hub` check what it uploads."""
    for config, extractor, models in FAMILIES:
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoFeatureExtractor.register(config, extractor, exist_ok=True)
        # The extractor is all the processing there is. AutoProcessor would otherwise try one Auto class after another,
        # and the one for images asks whether it may run the code in the folder.
        AutoProcessor.register(config, extractor, exist_ok=True)
        config.register_for_auto_class()
        extractor.register_for_auto_class()
        install(extractor)
        for auto_class, model in models.items():
            auto_class.register(config, model, exist_ok=True)
            model.register_for_auto_class(auto_class.__name__)
            install(model)
