"""The configuration: the paper's defaults, derived quantities, and what it refuses."""

import json
from fractions import Fraction

import pytest
from huggingface_hub.errors import StrictDataclassError

from audioformer.feature_extraction import token_ids
from audioformer.modeling_audioformer import AudioFormerConfig, configuration_audioformer

from .common import tiny_config


def test_defaults_are_those_of_the_paper():
    config = AudioFormerConfig()
    sizes = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.intermediate_size)
    assert sizes == (768, 12, 12, 3072)
    ids = (config.boa_token_id, config.pad_token_id, config.eoa_token_id, config.mask_token_id)
    assert ids == (0, 1, 2, 1027)
    assert (config.vocab_size, config.codebook_size) == (1028, 1024)
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.1
    assert config.layer_norm_eps == 1e-12
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 10_000.0}
    assert config.tie_word_embeddings is True


def test_frame_rate_and_times_follow_sampling_rate_and_hop():
    config = AudioFormerConfig()
    assert config.frame_rate == 75.0
    assert config.frame_times(5) == [0.0, 320 / 24_000, 640 / 24_000]
    assert AudioFormerConfig(sampling_rate=32_000, hop_length=640).frame_rate == 50.0


def test_frame_times_do_not_accumulate_rounding():
    hour = 3600 * 75
    times = AudioFormerConfig().frame_times(hour + 2)
    assert len(times) == hour
    assert all(times[frame] == float(Fraction(frame * 320, 24_000)) for frame in range(0, hour, 997))


def test_frame_times_refuses_sequences_without_room_for_boa_and_eoa():
    with pytest.raises(ValueError, match="num_input_ids.*got 1"):
        AudioFormerConfig().frame_times(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "hidden_size"),
        ({"hidden_size": 36}, "hidden_size"),  # 4 heads of 9: an odd size cannot be split into pairs
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"sampling_rate": 0}, "sampling_rate"),
        ({"hop_length": -320}, "hop_length"),
        ({"codebook": -1}, "codebook"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob"),
        ({"attention_probs_dropout_prob": -0.1}, "attention_probs_dropout_prob"),
        ({"classifier_dropout": 1.5}, "classifier_dropout"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps"),
        ({"initializer_range": -0.02}, "initializer_range"),
        ({"hidden_act": "no_such_activation"}, "hidden_act"),
        ({"boa_token_id": 5}, "`boa_token_id` must be 0, got 5"),
        ({"pad_token_id": 0}, "`pad_token_id` must be 1, got 0"),
        ({"eoa_token_id": 1}, "`eoa_token_id` must be 2, got 1"),
        ({"mask_token_id": 97}, "`mask_token_id` must be at least 98.*got 97"),
        ({"vocab_size": 98}, "vocab_size"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "rope_type"),
        ({"rope_theta": -1.0}, "rope_theta"),
        ({"problem_type": "multi_class"}, "problem_type"),
        ({"hidden_size": "32"}, "hidden_size"),
    ],
)
def test_refuses_values_that_cannot_work(changes, message):
    with pytest.raises(StrictDataclassError, match=message):
        tiny_config(**changes)


def test_problem_type_is_checked_at_assignment():
    config = tiny_config()
    config.problem_type = "multi_label_classification"
    with pytest.raises(StrictDataclassError, match="problem_type"):
        config.problem_type = "multilabel"
    assert config.problem_type == "multi_label_classification"


def test_saving_validates_what_was_assigned_later(tmp_path):
    config = tiny_config()
    config.num_attention_heads = 5
    with pytest.raises(StrictDataclassError, match="hidden_size"):
        config.save_pretrained(tmp_path)


def test_misspelt_names_change_nothing_and_stay_visible():
    """As everywhere in transformers they become extra attributes: code on the Hub relies on that."""
    config = AudioFormerConfig(hiden_size=64)
    assert config.hidden_size == 768
    assert config.to_dict()["hiden_size"] == 64


def test_rope_theta_is_a_shorthand():
    assert tiny_config(rope_theta=500.0).rope_parameters == {"rope_type": "default", "rope_theta": 500.0}


def test_vocabulary_may_be_padded_up():
    config = tiny_config(vocab_size=128)
    assert (config.vocab_size, config.mask_token_id) == (128, 98)


def test_model_and_extractor_mean_the_same_ids():
    """Both folders are copied to the Hub and cannot import each other."""
    assert configuration_audioformer.CODE_OFFSET == token_ids.CODE_OFFSET
    assert configuration_audioformer.SPECIAL_TOKEN_IDS == {
        "boa_token_id": token_ids.BOA_TOKEN_ID,
        "pad_token_id": token_ids.PAD_TOKEN_ID,
        "eoa_token_id": token_ids.EOA_TOKEN_ID,
    }


def test_the_field_of_earlier_versions_is_read_and_checked(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["codebook"]
    (tmp_path / "config.json").write_text(json.dumps({**settings, "codebooks": 3}))
    loaded = AudioFormerConfig.from_pretrained(tmp_path)
    assert loaded.codebook == 3 and "codebooks" not in loaded.to_dict()
    assert not {"codebooks", "codebook_dropout"} & set(settings)
    with pytest.raises(StrictDataclassError, match="codebook"):
        tiny_config(codebooks=-1)


def test_round_trip_keeps_every_field(tmp_path):
    config = tiny_config(codebook=2, classifier_dropout=0.3, rope_theta=500.0, problem_type="regression")
    config.save_pretrained(tmp_path)
    loaded = AudioFormerConfig.from_pretrained(tmp_path)
    ignored = {"auto_map", "transformers_version"}
    before, after = ({k: v for k, v in c.to_dict().items() if k not in ignored} for c in (config, loaded))
    assert before == after


def test_saved_alone_it_names_all_classes_and_contains_their_code(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert set(auto_map) == {"AutoConfig", "AutoModel", "AutoModelForMaskedLM", "AutoModelForAudioClassification"}
    for reference in auto_map.values():
        assert (tmp_path / f"{reference.split('.')[0]}.py").is_file()
