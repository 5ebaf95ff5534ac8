"""transformers' own suite for models and configurations, run on the classes of BEATs."""

import unittest
from unittest.mock import patch

import torch
from transformers.models.auto import modeling_auto

from audioformer.modeling_beats import (
    BeatsConfig,
    BeatsForAudioClassification,
    BeatsForMaskedAudioModeling,
    BeatsModel,
)
from tests.transformers_suite import ConfigTester, ModelTesterMixin, random_attention_mask

from .common import random_features, tiny_config


class BeatsModelTester:
    def __init__(self, parent, batch_size=13, num_frames=17):
        self.parent = parent
        self.batch_size = batch_size
        self.num_frames = num_frames
        config = self.get_config()
        self.hidden_size = config.hidden_size
        self.num_hidden_layers = config.num_hidden_layers
        self.num_attention_heads = config.num_attention_heads
        self.seq_length = config.num_patches(num_frames)
        self.is_training = True

    def get_config(self):
        return tiny_config(initializer_range=0.02, num_labels=3)

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        features = random_features(config, self.batch_size, self.num_frames)
        mask = random_attention_mask([self.batch_size, self.seq_length])
        return config, {"input_features": features, "attention_mask": mask}


class BeatsCommonTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (BeatsModel, BeatsForAudioClassification)
    test_resize_embeddings = False
    # The suite reads a model's age off a copyright line and spares those without one.
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        # The suite looks up by class name which labels a model needs and whether it has a loss. It does not know
        # classes outside the library, and would silently skip the training tests.
        for mapping, name in (
            ("MODEL_MAPPING_NAMES", "BeatsModel"),
            ("MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES", "BeatsForAudioClassification"),
        ):
            known = patch.dict(getattr(modeling_auto, mapping), {BeatsConfig.model_type: name})
            known.start()
            self.addCleanup(known.stop)
        self.model_tester = BeatsModelTester(self)
        self.config_tester = ConfigTester(self, config_class=BeatsConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()

    @unittest.skip("there is no vocabulary")
    def test_inputs_embeds(self):
        pass

    @unittest.skip("it subtracts outputs, and `patch_mask` is Boolean; tests/model_contracts.py compares them")
    def test_model_outputs_equivalence(self):
        pass

    def test_model_get_set_embeddings(self):
        config, _ = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            model = model_class(config)
            other = torch.nn.Linear(config.patch_size**2, config.patch_embedding_size)
            model.set_input_embeddings(other)
            self.assertIs(model.get_input_embeddings(), other)
            self.assertIsNone(model.get_output_embeddings())

    def test_labels_reach_the_classifier(self):
        """Guards the patch in `setUp`: without it the suite's training tests would pass without testing anything."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        labelled = self._prepare_for_class(inputs, BeatsForAudioClassification, return_labels=True)
        self.assertIn("labels", labelled)
        self.assertTrue(torch.isfinite(BeatsForAudioClassification(config)(**labelled).loss))


class BeatsMaskedModelTester(BeatsModelTester):
    """Inputs with the noise that decides which patches the encoder sees."""

    def __init__(self, parent):
        super().__init__(parent)
        self.encoder_seq_length = self.key_length = self.get_config().num_kept(self.seq_length)

    def prepare_config_and_inputs_for_common(self):
        config, inputs = super().prepare_config_and_inputs_for_common()
        return config, {**inputs, "noise": torch.rand(self.batch_size, self.seq_length)}


class BeatsMaskedAudioModelingCommonTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (BeatsForMaskedAudioModeling,)
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = BeatsMaskedModelTester(self)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels:
            inputs["labels"] = torch.zeros(inputs["noise"].shape, dtype=torch.long)
        return inputs

    @unittest.skip("there is no vocabulary")
    def test_inputs_embeds(self):
        pass

    @unittest.skip("it subtracts outputs, and `hidden_patches` is Boolean; tests/model_contracts.py compares them")
    def test_model_outputs_equivalence(self):
        pass

    @unittest.skip("there is no output embedding; the test of the encoder replaces the input's")
    def test_model_get_set_embeddings(self):
        pass


for _name in dir(ModelTesterMixin):
    if _name.startswith("test_eager_matches_sdpa_inference"):
        _skipped = unittest.skip(
            "it takes models with noise for those of images; tests/model_contracts.py compares them"
        )
        setattr(BeatsMaskedAudioModelingCommonTest, _name, _skipped(getattr(ModelTesterMixin, _name)))
