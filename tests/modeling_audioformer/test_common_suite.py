"""transformers' own suite for models and configurations, run on all three classes."""

import unittest
from unittest.mock import patch

import torch
from transformers.models.auto import modeling_auto

from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
)
from audioformer.modeling_audioformer.configuration_audioformer import CODE_OFFSET
from tests.transformers_suite import ConfigTester, ModelTesterMixin, ids_tensor, random_attention_mask

from .common import tiny_config


class AudioFormerModelTester:
    codebooks_of_ids: tuple[int, ...] = ()
    """Third dimension of the ids, if there is one."""

    def __init__(self, parent, batch_size=13, seq_length=7):
        self.parent = parent
        self.batch_size = batch_size
        self.seq_length = seq_length
        config = self.get_config()
        self.hidden_size = config.hidden_size
        self.num_hidden_layers = config.num_hidden_layers
        self.num_attention_heads = config.num_attention_heads
        self.is_training = True

    def get_config(self):
        return tiny_config(initializer_range=0.02, num_labels=3)

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        shape = [self.batch_size, self.seq_length, *self.codebooks_of_ids]
        codes = ids_tensor(shape, config.codebook_size)
        input_ids = codes + CODE_OFFSET
        mask = random_attention_mask([self.batch_size, self.seq_length])
        return config, {"input_ids": input_ids, "attention_mask": mask}


class AudioFormerCommonTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (AudioFormerModel, AudioFormerForMaskedLM, AudioFormerForAudioClassification)
    # The suite reads a model's age off a copyright line and spares those without one.
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        # The suite looks up by class name which labels a model needs and whether it has a loss. It does not know
        # classes outside the library, and would silently skip the training tests.
        for mapping, name in (
            ("MODEL_MAPPING_NAMES", "AudioFormerModel"),
            ("MODEL_FOR_MASKED_LM_MAPPING_NAMES", "AudioFormerForMaskedLM"),
            ("MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES", "AudioFormerForAudioClassification"),
        ):
            known = patch.dict(getattr(modeling_auto, mapping), {"audioformer": name})
            known.start()
            self.addCleanup(known.stop)
        self.model_tester = AudioFormerModelTester(self)
        self.config_tester = ConfigTester(self, config_class=AudioFormerConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()

    def test_labels_reach_both_heads(self):
        """Guards the patch in `setUp`: without it the suite's training tests would pass without testing anything."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes[1:]:
            labelled = self._prepare_for_class(inputs, model_class, return_labels=True)
            self.assertIn("labels", labelled)
            loss = model_class(config)(**labelled).loss
            self.assertTrue(torch.isfinite(loss))


class SeveralCodebooksModelTester(AudioFormerModelTester):
    codebooks_of_ids = (3,)

    def get_config(self):
        return tiny_config(initializer_range=0.02, num_labels=3, codebooks=[0, 1, 2])


class SeveralCodebooksCommonTest(AudioFormerCommonTest):
    """The same suite for a model that reads several codebooks."""

    def setUp(self):
        super().setUp()
        self.model_tester = SeveralCodebooksModelTester(self)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        """The suite makes one label per position; here there is one per code."""
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels and model_class is AudioFormerForMaskedLM:
            inputs["labels"] = inputs["labels"][..., None].repeat(1, 1, 3)
        return inputs

    @unittest.skip("asks for one `nn.Embedding`; there is one per codebook, see test_several_codebooks.py")
    def test_model_get_set_embeddings(self):
        pass

    @unittest.skip("asks for one `nn.Embedding`; there is one per codebook, see test_several_codebooks.py")
    def test_resize_tokens_embeddings(self):
        pass
