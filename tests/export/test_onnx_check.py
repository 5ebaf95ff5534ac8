"""The comparison with PyTorch: what passes and what is refused."""

import numpy as np
import pytest
import torch

from audioformer.export.onnx_check import check_codes, check_logits, random_ids, some_sound
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.modeling_audioformer import AudioFormerForAudioClassification

from ..feature_extraction.common import make_codec
from ..modeling_audioformer.common import tiny_config


class Session:
    """Stands in for onnxruntime and returns what `compute` makes of the inputs."""

    def __init__(self, compute):
        self.compute = compute

    def run(self, names, inputs):
        assert len(names) == 1
        return [self.compute(**{name: torch.from_numpy(array) for name, array in inputs.items()}).numpy()]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return AudioFormerForAudioClassification(tiny_config(num_labels=3)).eval()


@pytest.mark.parametrize("error, passes", [(0.0, True), (5e-5, True), (2e-4, False), (float("nan"), False)])
def test_one_logit_decides(model, error, passes):
    def compute(**inputs):
        logits = model(**inputs).logits.detach().clone()
        if inputs["input_ids"].shape[1] == 752:
            logits[-1, -1] += error
        return logits

    assert check_logits(Session(compute), model).passed is passes


def test_padding_is_part_of_the_comparison(model):
    def compute(input_ids, attention_mask):
        return model(input_ids=input_ids, attention_mask=torch.ones_like(attention_mask)).logits.detach()

    assert not check_logits(Session(compute), model).passed


def test_logits_of_another_shape_are_refused(model):
    check = check_logits(Session(lambda **inputs: model(**inputs).logits[:, :1].detach()), model)
    assert not check.passed and "(1, 1)" in check.finding


@pytest.mark.parametrize("wrong, passes", [(0, True), (3, True), (4, False)])
def test_one_frame_in_a_thousand_may_differ(wrong, passes):
    codec = make_codec()
    extractor = AudioFormerFeatureExtractor(codec=codec, codebooks=[0, 3])

    def compute(waveform):
        codes = codec.encode(waveform[:, None], bandwidth=3.0).audio_codes[0].transpose(1, 2)[:, :, [0, 3]]
        if waveform.shape == (1, 320000):
            codes[:, :wrong, 1] += 1
        return codes

    check = check_codes(Session(compute), extractor)
    assert check.passed is passes
    # 1 + 2 + 1 + 3 x 6 + 2 x 40 + 4 x 501 + 1,000
    assert f"{3106 - wrong} of 3106 frames" in check.finding


def test_ids_are_whole_and_padded_sequences():
    config = tiny_config()
    inputs = random_ids(config, 3, 9)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    assert mask.sum(dim=1).tolist() == [9, 9, 6]
    assert (ids[:, 0] == config.boa_token_id).all() and (ids[-1, 6:] == config.pad_token_id).all()
    assert ids[0, -1] == ids[1, -1] == ids[-1, 5] == config.eoa_token_id
    assert ((ids[:2, 1:-1] >= 3) & (ids[:2, 1:-1] < 98)).all()


def test_sounds_are_audible_and_differ():
    sound = some_sound(3, 24000)
    assert sound.dtype == np.float32 and sound.shape == (3, 24000)
    assert sound.std(axis=1).min() > 1e-3 and np.abs(np.corrcoef(sound) - np.eye(3)).max() < 0.5
