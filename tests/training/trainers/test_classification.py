"""The trainer of FT1: its losses, options and logs."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import TrainingArguments
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from audioformer.evaluation import build_compute_metrics
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification
from audioformer.modeling_audioformer.classification_loss import named_classification_loss
from audioformer.training import (
    AudioFormerClassificationTrainer,
    AudioFormerMPCTrainer,
    AudioFormerTrainingArguments,
    CodeExamples,
)
from audioformer.training.losses import LSEPLoss
from audioformer.training.trainers.mixup import draw_mixup, draw_token_mixup, mix_labels, mix_tokens, mixed_embeddings

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LABELS = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 1]])


def make_model(loss: str = "cross_entropy", **changes) -> AudioFormerForAudioClassification:
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    config = AudioFormerConfig(**sizes, **NO_DROPOUT, num_labels=3, classification_loss=loss, **changes)
    return AudioFormerForAudioClassification(config)


def make_trainer(tmp_path, loss: str = "cross_entropy", model=None, **arguments) -> AudioFormerClassificationTrainer:
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 1024, 12 + index) for index in range(12)]
    labels = rng.integers(0, 3, 12)
    if loss != "cross_entropy":
        labels = np.eye(3, dtype=np.float32)[labels]
    examples = CodeExamples(clips, labels)
    settings = dict(
        output_dir=str(tmp_path), use_cpu=True, disable_tqdm=True, save_strategy="no", per_device_train_batch_size=4
    )
    return AudioFormerClassificationTrainer(
        model=model or make_model(loss),
        args=AudioFormerTrainingArguments(**{**settings, **arguments}),
        train_dataset=examples,
        eval_dataset=examples,
        compute_metrics=build_compute_metrics(loss != "cross_entropy"),
    )


def batch_of(trainer: AudioFormerClassificationTrainer) -> dict[str, torch.Tensor]:
    return trainer.data_collator([trainer.train_dataset[index] for index in range(4)])


def test_without_options_the_loss_is_the_models_own(tmp_path):
    trainer = make_trainer(tmp_path)
    batch = batch_of(trainer)
    trainer.model.train()
    expected = nn.functional.cross_entropy(trainer.model(**batch).logits, batch["labels"])
    torch.testing.assert_close(trainer.compute_loss(trainer.model, dict(batch)), expected)


def test_label_smoothing_is_torchs_own_and_only_in_training(tmp_path):
    trainer = make_trainer(tmp_path, label_smoothing_factor=0.2)
    batch = batch_of(trainer)
    trainer.model.train()
    logits = trainer.model(**batch).logits
    expected = nn.functional.cross_entropy(logits, batch["labels"], label_smoothing=0.2)
    torch.testing.assert_close(trainer.compute_loss(trainer.model, dict(batch)), expected)
    trainer.model.eval()
    plain = nn.functional.cross_entropy(logits, batch["labels"])
    torch.testing.assert_close(trainer.compute_loss(trainer.model, dict(batch)), plain)


def test_label_smoothing_of_bce_by_hand(tmp_path):
    trainer = make_trainer(tmp_path, "bce", label_smoothing_factor=0.2)
    batch = batch_of(trainer)
    trainer.model.train()
    probabilities = trainer.model(**batch).logits.double().sigmoid()
    targets = torch.where(batch["labels"] == 1, 0.9, 0.1)
    expected = -(targets * probabilities.log() + (1 - targets) * (1 - probabilities).log()).mean()
    loss = trainer.compute_loss(trainer.model, dict(batch))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("options", [{"label_smoothing_factor": 0.2}, {"mixup_alpha": 0.5}])
def test_targets_that_are_changed_go_through_the_same_reduction_of_bce(tmp_path, options):
    losses = []
    for reduction in ("sum", "mean"):
        trainer = make_trainer(tmp_path, "bce", make_model("bce", bce_reduction=reduction), **options)
        trainer.model.train()
        torch.manual_seed(3)
        losses.append(trainer.compute_loss(trainer.model, batch_of(trainer)).item())
    assert losses[0] == pytest.approx(3 * losses[1], rel=1e-5)


def test_lsep_refuses_label_smoothing(tmp_path):
    with pytest.raises(ValueError, match="`label_smoothing_factor` must be 0.*lsep.*got 0.1"):
        make_trainer(tmp_path, "lsep", label_smoothing_factor=0.1)


def test_mixed_labels():
    partners, shares = torch.tensor([1, 2, 0]), torch.tensor([0.75, 1.0, 0.5])
    mixed = mix_labels(LABELS, partners, shares, 3, "bce")
    torch.testing.assert_close(mixed, torch.tensor([[0.75, 0.25, 0.25], [0, 1, 1], [0.5, 0, 0.5]]))
    union = mix_labels(LABELS, partners, shares, 3, "lsep")
    assert union.tolist() == [[1, 1, 1], [0, 1, 1], [1, 0, 1]]
    classes = mix_labels(torch.tensor([0, 1, 2]), partners, shares, 3, "cross_entropy")
    torch.testing.assert_close(classes, torch.tensor([[0.75, 0.25, 0], [0, 1, 0], [0.5, 0, 0.5]]))


def test_mixup_mixes_embeddings_masks_and_labels(tmp_path):
    trainer = make_trainer(tmp_path, mixup_alpha=0.5)
    batch, model = batch_of(trainer), trainer.model.train()
    torch.manual_seed(4)
    loss = trainer.compute_loss(model, dict(batch))
    torch.manual_seed(4)
    partners, shares = draw_mixup(4, 0.5, torch.device("cpu"))
    assert (shares >= 0.5).all() and len(set(partners.tolist())) == 4
    embedded = model.get_input_embeddings()(batch["input_ids"])
    weights = shares[:, None, None]
    mask = torch.maximum(batch["attention_mask"], batch["attention_mask"][partners])
    logits = model(inputs_embeds=weights * embedded + (1 - weights) * embedded[partners], attention_mask=mask).logits
    log_probabilities = logits.log_softmax(dim=-1)
    own, partner = (log_probabilities[torch.arange(4), batch["labels"][clips]] for clips in (range(4), partners))
    torch.testing.assert_close(loss, -(shares * own + (1 - shares) * partner).mean())
    # The hook is removed afterwards, and evaluations mix nothing.
    torch.testing.assert_close(model.get_input_embeddings()(batch["input_ids"]), embedded)
    plain = nn.functional.cross_entropy(model.eval()(**batch).logits, batch["labels"])
    torch.testing.assert_close(trainer.compute_loss(model, dict(batch)), plain)


def test_token_mixup_takes_frames_of_the_partner_and_as_much_of_its_label(tmp_path):
    trainer = make_trainer(tmp_path, token_mixup_alpha=0.5)
    batch, model = batch_of(trainer), trainer.model.train()
    torch.manual_seed(4)
    loss = trainer.compute_loss(model, dict(batch))
    torch.manual_seed(4)
    partners, taken, shares = draw_token_mixup(batch["attention_mask"], 0.5)
    ids, mixed = batch["input_ids"], batch["input_ids"].clone()
    for row, partner in enumerate(partners.tolist()):
        lengths = [int(batch["attention_mask"][clip].sum()) for clip in (row, partner)]
        # Neither BOA nor EOA of either clip.
        assert not taken[row, 0] and not taken[row, min(lengths) - 1 :].any()
        mixed[row, taken[row]] = ids[partner, taken[row]]
        assert float(shares[row]) == pytest.approx(1 - int(taken[row].sum()) / (lengths[0] - 2))
    assert (mixed != ids).any() and len(set(partners.tolist())) == 4
    assert torch.equal(mix_tokens(ids, partners, taken), mixed)
    both = torch.stack([ids.flip(0), ids], dim=2)
    assert torch.equal(mix_tokens(both, partners, taken)[..., 1], mixed)
    assert torch.equal(mix_tokens(both.mT, partners, taken, sequence_dim=2)[:, 1], mixed)
    log_probabilities = model(input_ids=mixed, attention_mask=batch["attention_mask"]).logits.log_softmax(dim=-1)
    own, partner = (log_probabilities[torch.arange(4), batch["labels"][clips]] for clips in (range(4), partners))
    torch.testing.assert_close(loss, -(shares * own + (1 - shares) * partner).mean())
    plain = nn.functional.cross_entropy(model.eval()(**batch).logits, batch["labels"])
    torch.testing.assert_close(trainer.compute_loss(model, dict(batch)), plain)


def test_shares_of_token_mixup_follow_the_beta_distribution():
    mask = torch.ones(4000, 102, dtype=torch.int64)
    torch.manual_seed(0)
    _, _, shares = draw_token_mixup(mask, 0.3)
    torch.manual_seed(0)
    _, wanted = draw_mixup(4000, 0.3, torch.device("cpu"))
    assert (shares - wanted).abs().mean() < 0.04 and abs((shares - wanted).mean()) < 0.005
    empty = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert draw_token_mixup(empty, 0.3)[2].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("loss", ["lsep", "bce"])
def test_token_mixup_trains_with_several_labels(tmp_path, loss):
    trainer = make_trainer(tmp_path, loss, token_mixup_alpha=0.4, max_steps=2)
    assert np.isfinite(trainer.train().training_loss)


def test_the_hook_is_removed_even_if_the_forward_fails():
    embedding = nn.Embedding(4, 2)
    with pytest.raises(RuntimeError), mixed_embeddings(embedding, torch.tensor([0]), torch.tensor([0.5])):
        raise RuntimeError
    assert not embedding._forward_hooks


def test_a_clip_that_took_nothing_keeps_its_own_labels():
    mixed = mix_labels(LABELS, torch.tensor([1, 2, 0]), torch.tensor([1.0, 0.5, 0.5]), 3, "lsep")
    assert mixed.tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 1]]


def test_soft_targets_of_lsep_are_ranked():
    logits = torch.randn(3, 3)
    torch.testing.assert_close(named_classification_loss(logits, LABELS.float(), "lsep"), LSEPLoss()(logits, LABELS))


def test_mixup_trains(tmp_path):
    trainer = make_trainer(tmp_path, "lsep", mixup_alpha=0.4, max_steps=3)
    assert np.isfinite(trainer.train().training_loss)


def test_rates_fall_from_layer_to_layer(tmp_path):
    trainer = make_trainer(tmp_path, layer_wise_lr_decay=0.5, learning_rate=0.8, weight_decay=0.1, max_steps=4)
    optimizer = trainer.create_optimizer()
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    rates, decays = {}, {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            rates[names[id(parameter)]] = group["lr"]
            decays[names[id(parameter)]] = group["weight_decay"]
    assert rates.keys() == {name for name, _ in trainer.model.named_parameters()}
    assert rates["classifier.weight"] == 0.8
    assert rates["audioformer.layers.1.mlp.up_proj.weight"] == pytest.approx(0.4)
    assert rates["audioformer.layers.0.attention.q_proj.bias"] == pytest.approx(0.2)
    assert rates["audioformer.embeddings.word_embeddings.weight"] == pytest.approx(0.1)
    assert decays["classifier.weight"] == 0.1 and decays["classifier.bias"] == 0.0
    trainer.train()
    assert sorted({group["lr"] for group in trainer.optimizer.param_groups}) == [0.0]  # the end of linear decay
    initial = sorted({round(group["initial_lr"], 6) for group in trainer.optimizer.param_groups})
    assert initial == [0.1, 0.2, 0.4, 0.8]
    trainer = make_trainer(tmp_path, layer_wise_lr_decay=0.5, learning_rate=0.8, max_steps=1, logging_steps=1)
    trainer.train()
    assert trainer.state.log_history[0]["learning_rate"] == 0.8  # the rate of the head


class LogsComponent(AudioFormerClassificationTrainer):
    """Logs the number of the batch as a component of the loss."""

    calls = 0

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        self.log_component("component_loss", torch.tensor(float(self.calls if model.training else 100)))
        self.calls += model.training
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


def test_components_of_the_loss_are_means_over_the_logged_batches(tmp_path):
    plain = make_trainer(
        tmp_path, logging_steps=2, max_steps=4, gradient_accumulation_steps=3, per_device_train_batch_size=2
    )
    trainer = LogsComponent(
        model=plain.model, args=plain.args, train_dataset=plain.train_dataset, eval_dataset=plain.eval_dataset
    )
    trainer.train()
    logged = [record["component_loss"] for record in trainer.state.log_history if "component_loss" in record]
    assert logged == [2.5, 8.5]  # batches 0 to 5 and 6 to 11
    metrics = trainer.evaluate()
    assert metrics["eval_component_loss"] == 100 and "component_loss" not in metrics


def test_unequal_batches_of_a_step_count_by_their_clips(tmp_path):
    settings = dict(num_train_epochs=1, learning_rate=0.5, optim="sgd", max_grad_norm=0.0, logging_steps=1)
    results = []
    for sizes in ({"per_device_train_batch_size": 12}, {"per_device_train_batch_size": 8}):
        trainer = make_trainer(tmp_path, gradient_accumulation_steps=2, **settings, **sizes)
        trainer.train()
        results.append((trainer.model.state_dict(), trainer.state.log_history[0]["loss"]))
    (whole, loss), (parts, other_loss) = results
    assert trainer.state.global_step == 1 and other_loss == pytest.approx(loss, rel=1e-6)  # twelve; eight and four
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, atol=1e-6, rtol=1e-5, msg=name)


def test_training_removes_a_calibration(tmp_path):
    model = make_model("lsep", calibration_temperature=2.0, calibration_bias=[1.0, 2.0, 3.0])
    trainer = make_trainer(tmp_path, "lsep", model=model, max_steps=1)
    trainer.evaluate()
    assert model.config.calibration_bias == [1.0, 2.0, 3.0]
    trainer.train()
    assert model.config.calibration_temperature is None and model.config.calibration_bias is None


def test_early_stopping_stops(tmp_path):
    model = make_model()
    settings = dict(
        save_strategy="epoch", eval_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="accuracy"
    )
    trainer = make_trainer(
        tmp_path, model=model, learning_rate=0.0, num_train_epochs=9, early_stopping_patience=2, **settings
    )
    trainer.train()
    assert trainer.state.epoch == 3  # one sets the best metric, two are not better


@pytest.mark.parametrize("epoch", [3, 4])  # with some of its patience used, and when it has stopped
def test_a_resumed_run_stops_when_it_would_have_stopped(tmp_path, epoch):
    scores = {1: 0.1, 2: 0.5, 3: 0.4, 4: 0.3, 5: 0.9}
    settings = dict(
        save_strategy="epoch", eval_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="accuracy"
    )
    weights = []
    for checkpoint in (None, str(tmp_path / f"checkpoint-{3 * epoch}")):
        trainer = make_trainer(tmp_path, num_train_epochs=9, early_stopping_patience=2, **settings)
        trainer.compute_metrics = lambda _, of=trainer: {"accuracy": scores[round(of.state.epoch)]}
        trainer.train(resume_from_checkpoint=checkpoint)
        assert (trainer.state.epoch, trainer.state.best_global_step) == (4, 6)
        weights.append(trainer.model.state_dict())
    for name, weight in weights[0].items():
        assert torch.equal(weights[1][name], weight), name


def test_a_second_call_of_train_starts_with_full_patience(tmp_path):
    settings = dict(
        save_strategy="epoch", eval_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="accuracy"
    )
    trainer = make_trainer(tmp_path, learning_rate=0.0, num_train_epochs=9, early_stopping_patience=2, **settings)
    for _ in range(2):
        trainer.train()
        assert trainer.state.epoch == 3


def test_a_run_without_early_stopping_is_resumed_with_it(tmp_path):
    settings = dict(
        save_strategy="epoch", eval_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="accuracy"
    )
    make_trainer(tmp_path, learning_rate=0.0, num_train_epochs=2, **settings).train()
    trainer = make_trainer(tmp_path, learning_rate=0.0, num_train_epochs=9, early_stopping_patience=2, **settings)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.epoch == 4  # two evaluations without a better one since it was resumed


@pytest.mark.parametrize("missing", ["load_best_model_at_end", "metric_for_best_model"])
def test_early_stopping_needs_a_metric_and_the_best_model(tmp_path, missing):
    settings = dict(
        save_strategy="epoch", eval_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="accuracy"
    )
    settings[missing] = None if missing == "metric_for_best_model" else False
    if missing == "metric_for_best_model":
        settings["load_best_model_at_end"] = False
    with pytest.raises(ValueError, match="`early_stopping_patience` 2 needs"):
        make_trainer(tmp_path, early_stopping_patience=2, **settings)


def test_packed_batches_need_flash_attention(tmp_path):
    with pytest.raises(ValueError, match="`packed` needs.*flash_attention_2.*'sdpa'"):
        make_trainer(tmp_path, packed=True)


def attention_by_clip(module, query, key, value, attention_mask, *, cu_seq_lens_q=None, scaling, **kwargs):
    """Do what flash attention does with packed clips, clip by clip. Other batches have a 2-D mask."""
    if cu_seq_lens_q is None:
        mask = None if attention_mask is None else attention_mask[:, None, None].bool()
        output = nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=scaling)
    else:
        assert attention_mask is None and kwargs["max_length_q"] == cu_seq_lens_q.diff().max()
        lengths = cu_seq_lens_q.diff().tolist()
        parts = zip(*(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
        clips = [nn.functional.scaled_dot_product_attention(*part, scale=scaling) for part in parts]
        output = torch.cat(clips, dim=2)
    return output.transpose(1, 2), None


def test_packed_training_equals_padded_training(tmp_path, monkeypatch):
    """Uses a stand-in for flash attention, which needs a GPU."""
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flash_attention_2", attention_by_clip)
    settings = dict(max_steps=3, learning_rate=1e-2, optim="sgd", logging_steps=1)
    results = []
    for packed in (False, True):
        model = make_model()
        model.config._attn_implementation = "flash_attention_2" if packed else "sdpa"
        trainer = make_trainer(tmp_path, model=model, packed=packed, **settings)
        trainer.train()
        metrics = trainer.evaluate()
        results.append((model.state_dict(), metrics["eval_loss"], metrics["eval_accuracy"]))
    (weights, *numbers), (other, *other_numbers) = results
    assert other_numbers == pytest.approx(numbers, abs=1e-5)
    for name, weight in weights.items():
        torch.testing.assert_close(other[name], weight, atol=1e-5, rtol=1e-4, msg=name)


def test_evaluations_have_one_row_for_each_clip_though_training_packs_them(tmp_path, monkeypatch):
    """The first dimension of a batch is the number of its clips, by which the last batch, a smaller one, counts."""
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flash_attention_2", attention_by_clip)
    model = make_model()
    model.config._attn_implementation = "flash_attention_2"
    trainer = make_trainer(tmp_path, model=model, packed=True, per_device_eval_batch_size=5)
    assert {len(batch["input_ids"]) for batch in trainer.get_train_dataloader()} == {1}
    clips = trainer.eval_dataset
    whole, rest = divmod(len(clips), 5)
    assert rest
    for loader in (trainer.get_eval_dataloader(), trainer.get_test_dataloader(clips)):
        assert [len(batch["input_ids"]) for batch in loader] == [5] * whole + [rest]
    assert trainer.data_collator.packed


@pytest.mark.parametrize("kind", ["list", "datasets"])
@pytest.mark.parametrize("options", [{}, {"class_balanced_sampling": True}, {"group_by_length": False}])
def test_other_data_sets_of_ids_train(tmp_path, kind, options):
    items = [{"input_ids": [0, *range(3, 6 + index), 2], "labels": index % 3} for index in range(12)]
    trainer = make_trainer(tmp_path, max_steps=2, **options)
    trainer.train_dataset = items if kind == "list" else Dataset.from_list(items)
    assert np.isfinite(trainer.train().training_loss)


@pytest.mark.parametrize("trainer", [AudioFormerClassificationTrainer, AudioFormerMPCTrainer])
def test_plain_training_arguments_are_refused(tmp_path, trainer):
    with pytest.raises(ValueError, match="`args` must be `AudioFormerTrainingArguments`, got `TrainingArguments`"):
        trainer(model=make_model(), args=TrainingArguments(str(tmp_path), use_cpu=True))


def test_the_order_follows_the_data_seed(tmp_path):
    orders = []
    for settings in ({"seed": 1}, {"seed": 2, "data_seed": 1}, {"seed": 2}):
        trainer = make_trainer(tmp_path, **settings)
        trainer.get_train_dataloader()
        orders.append(list(trainer.epoch_sampler))
    assert orders[0] == orders[1] != orders[2]
