"""The code that a saved classifier carries: every file by name, with its source in the package."""

from pathlib import Path

ROOT = Path(__file__).parents[1]

CODE: dict[str, Path] = {
    name: ROOT / folder / name
    for folder, names in {
        "modeling_audioformer": (
            "carried_code.py",
            "classification_loss.py",
            "classification_settings.py",
            "configuration_audioformer.py",
            "modeling_audioformer.py",
            "pooling.py",
            "self_attention.py",
        ),
        "feature_extraction": (
            "audio_tokenizers.py",
            "codec.py",
            "convert_encodec_checkpoint.py",
            "encodec_encoder.py",
            "encodec_lstm.py",
            "encodec_package.py",
            "feature_extraction_audioformer.py",
            "level.py",
            "matrix_products.py",
            "residual_quantizer.py",
            "sequences.py",
            "token_ids.py",
            "waveforms.py",
        ),
    }.items()
    for name in names
}
