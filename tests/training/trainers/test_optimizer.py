"""Distances from the head for the names that parameters have in different model families."""

import pytest
import torch
from torch import nn
from transformers import ASTConfig, ASTForAudioClassification, Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from audioformer.training.trainers.optimizer import decay_by_layer, distances_from_head

SIZES = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16, num_labels=2)


def distances_of(model: nn.Module) -> dict[str, int]:
    return distances_from_head([name for name, _ in model.named_parameters()])


def one(distances: dict[str, int], part: str) -> int:
    """The distance that all parameters have whose name contains `part`."""
    (distance,) = {distance for name, distance in distances.items() if part in name}
    return distance


def test_layers_of_a_spectrogram_transformer():
    distances = distances_of(ASTForAudioClassification(ASTConfig(**SIZES, max_length=24, num_mel_bins=24)))
    assert one(distances, "embeddings") == 4 and one(distances, "classifier") == 0
    for number in range(3):
        in_layer = [distance for name, distance in distances.items() if f".{number}." in name]
        assert len(in_layer) == 16 and set(in_layer) == {3 - number}


def test_a_convolutional_front_end_lies_below_the_layers():
    config = Wav2Vec2Config(
        **SIZES,
        conv_dim=(8, 8, 8, 8, 8),
        conv_kernel=(4,) * 5,
        conv_stride=(2,) * 5,
        num_feat_extract_layers=5,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    distances = distances_of(Wav2Vec2ForSequenceClassification(config))
    assert one(distances, "feature_extractor.conv_layers") == one(distances, "feature_projection") == 4
    assert [one(distances, f"encoder.layers.{number}.") for number in range(3)] == [3, 2, 1]
    assert one(distances, "classifier") == one(distances, "projector.") == 0


@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone."])
def test_blocks_of_a_vision_transformer(prefix):
    names = [
        "cls_token",
        "patch_embed.proj.weight",
        "blocks.0.norm1.weight",
        "blocks.0.mlp.layers.7.weight",
        "blocks.10.norm1.weight",
        "norm.weight",
        "head.weight",
    ]
    distances = distances_from_head([prefix + name for name in names])
    assert list(distances.values()) == [12, 12, 11, 11, 1, 0, 0]


def test_a_small_stack_besides_the_encoder_does_not_count():
    names = ["stem.layers.0.weight", "stem.layers.1.weight"]
    names += [f"encoder.layers.{number}.{part}" for number in range(4) for part in ("attention", "mlp")]
    distances = distances_from_head([*names, "classifier.layers.0.weight"])
    assert (
        one(distances, "stem") == 5 and one(distances, "encoder.layers.3") == 1 and one(distances, "classifier") == 0
    )


def test_models_without_numbered_layers_are_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"`layer_wise_lr_decay` needs a model with numbered layers.*0\.weight"):
        decay_by_layer(torch.optim.SGD(model.parameters(), lr=1.0), model, 0.5)


def test_groups_keep_their_settings_and_the_head_comes_first():
    model = nn.Module()
    model.embedding, model.layers = nn.Linear(2, 2), nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])
    model.head = nn.Linear(2, 2)
    parameters = dict(model.named_parameters())
    groups = [
        {"params": [value for name, value in parameters.items() if name.endswith(ending)], "weight_decay": decay}
        for ending, decay in (("weight", 0.1), ("bias", 0.0))
    ]
    optimizer = torch.optim.SGD(groups, lr=0.8)
    decay_by_layer(optimizer, model, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.8, 0.4, 0.2, 0.1] * 2)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1] * 4 + [0.0] * 4
    assert optimizer.param_groups[0]["params"][0] is model.head.weight
    assert optimizer.param_groups[3]["params"][0] is model.embedding.weight
