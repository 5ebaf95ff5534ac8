"""AudioFormer and its peers for `transformers`: models, feature extractors and training for classifying sound.

Importing this package registers its classes with the Auto classes of `transformers`, so that
`AutoModel.from_pretrained`, `AutoFeatureExtractor.from_pretrained` and `pipeline("audio-classification")` know them.
"""

import os
import sys
from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .classify import classify_file
    from .data.audio import load_audio
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
        AudioFormerPreTrainedModel,
        convert_roformer_state_dict,
    )
    from .modeling_beats import (
        BeatsConfig,
        BeatsForAudioClassification,
        BeatsForMaskedAudioModeling,
        BeatsModel,
        BeatsRandomProjectionTokenizer,
        BeatsTokenizer,
    )
    from .modeling_dasheng import DashengConfig, DashengForAudioClassification, DashengForPreTraining, DashengModel
    from .modeling_maskspec import (
        MaskSpecConfig,
        MaskSpecForAudioClassification,
        MaskSpecForPreTraining,
        MaskSpecModel,
    )

__version__ = "0.1.0"

__all__ = [
    "AudioFormerConfig",
    "AudioFormerFeatureExtractor",
    "AudioFormerForAudioClassification",
    "AudioFormerForMaskedLM",
    "AudioFormerModel",
    "AudioFormerPreTrainedModel",
    "BeatsConfig",
    "BeatsFeatureExtractor",
    "BeatsForAudioClassification",
    "BeatsForMaskedAudioModeling",
    "BeatsModel",
    "BeatsRandomProjectionTokenizer",
    "BeatsTokenizer",
    "DashengConfig",
    "DashengFeatureExtractor",
    "DashengForAudioClassification",
    "DashengForPreTraining",
    "DashengModel",
    "MaskSpecConfig",
    "MaskSpecFeatureExtractor",
    "MaskSpecForAudioClassification",
    "MaskSpecForPreTraining",
    "MaskSpecModel",
    "classify_file",
    "convert_roformer_state_dict",
    "load_audio",
    "__version__",
]

_MODULES = {
    "AudioFormerConfig": "modeling_audioformer",
    "AudioFormerFeatureExtractor": "feature_extraction",
    "AudioFormerForAudioClassification": "modeling_audioformer",
    "AudioFormerForMaskedLM": "modeling_audioformer",
    "AudioFormerModel": "modeling_audioformer",
    "AudioFormerPreTrainedModel": "modeling_audioformer",
    "BeatsConfig": "modeling_beats",
    "BeatsFeatureExtractor": "feature_extraction",
    "BeatsForAudioClassification": "modeling_beats",
    "BeatsForMaskedAudioModeling": "modeling_beats",
    "BeatsModel": "modeling_beats",
    "BeatsRandomProjectionTokenizer": "modeling_beats",
    "BeatsTokenizer": "modeling_beats",
    "DashengConfig": "modeling_dasheng",
    "DashengFeatureExtractor": "feature_extraction",
    "DashengForAudioClassification": "modeling_dasheng",
    "DashengForPreTraining": "modeling_dasheng",
    "DashengModel": "modeling_dasheng",
    "MaskSpecConfig": "modeling_maskspec",
    "MaskSpecFeatureExtractor": "feature_extraction",
    "MaskSpecForAudioClassification": "modeling_maskspec",
    "MaskSpecForPreTraining": "modeling_maskspec",
    "MaskSpecModel": "modeling_maskspec",
    "classify_file": "classify",
    "convert_roformer_state_dict": "modeling_audioformer",
    "load_audio": "data.audio",
}
"""Module of each public name, imported when the name is first used."""

__getattr__, __dir__ = lazy_names(__name__, _MODULES)


def _is_command_line() -> bool:
    """Whether this process is the command `audioformer`, which registers the classes once a command needs them:
    `--help` and a mistyped flag need not wait seconds for torch and transformers."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    # While `python -m` imports the package, the program is called "-m".
    as_module = program == "-m" and "audioformer.cli" in sys.orig_argv
    return as_module or program.removesuffix(".exe") == "audioformer"


if not _is_command_line():
    from .registration import register_auto_classes

    register_auto_classes()
