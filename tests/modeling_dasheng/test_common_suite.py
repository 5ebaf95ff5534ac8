"""transformers' own suite for models and configurations, run on the classes of Dasheng."""

import unittest
from unittest.mock import patch

import torch
from transformers.models.auto import modeling_auto

from audioformer.modeling_dasheng import (
    DashengConfig,
    DashengForAudioClassification,
    DashengForPreTraining,
    DashengModel,
)
from tests.transformers_suite import ConfigTester, ModelTesterMixin, random_attention_mask

from .common import random_features, tiny_config


class DashengModelTester:
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


class DashengCommonTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (DashengModel, DashengForAudioClassification)
    test_resize_embeddings = False
    # The suite reads a model's age off a copyright line and spares those without one.
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        # The suite looks up by class name which labels a model needs and whether it has a loss. It does not know
        # classes outside the library, and would silently skip the training tests.
        for mapping, name in (
            ("MODEL_MAPPING_NAMES", "DashengModel"),
            ("MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES", "DashengForAudioClassification"),
        ):
            known = patch.dict(getattr(modeling_auto, mapping), {DashengConfig.model_type: name})
            known.start()
            self.addCleanup(known.stop)
        self.model_tester = DashengModelTester(self)
        self.config_tester = ConfigTester(self, config_class=DashengConfig, has_text_modality=False)

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
            other = torch.nn.Linear(config.patch_values, config.hidden_size)
            model.set_input_embeddings(other)
            self.assertIs(model.get_input_embeddings(), other)
            self.assertIsNone(model.get_output_embeddings())

    def test_labels_reach_the_classifier(self):
        """Guards the patch in `setUp`: without it the suite's training tests would pass without testing anything."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        labelled = self._prepare_for_class(inputs, DashengForAudioClassification, return_labels=True)
        self.assertIn("labels", labelled)
        self.assertTrue(torch.isfinite(DashengForAudioClassification(config)(**labelled).loss))


class DashengPreTrainingModelTester(DashengModelTester):
    def __init__(self, parent):
        super().__init__(parent)
        # Of eight patches the encoder sees two.
        self.encoder_seq_length = self.key_length = 2
        # The suite squares the quotient of these for the shape of `noise`: four groups.
        self.image_size, self.patch_size = 4, 2

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        features = random_features(config, self.batch_size, self.num_frames)
        noise = torch.rand(self.batch_size, 4, generator=torch.Generator().manual_seed(0))
        return config, {"input_features": features, "noise": noise}


class DashengPreTrainingCommonTest(DashengCommonTest):
    all_model_classes = (DashengForPreTraining,)

    def setUp(self):
        super().setUp()
        self.model_tester = DashengPreTrainingModelTester(self)
