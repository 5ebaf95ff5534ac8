"""FT2 through the Trainer, compared with Eq. 8 and 9 written out in float64 and with one process."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification, AudioFormerModel
from audioformer.training.audioformer_arguments import AudioFormerTrainingArguments
from audioformer.training.examples.codes import CodeExamples
from audioformer.training.trainers import AudioFormerClassificationTrainer, AudioFormerMPCTrainer
from audioformer.training.trainers.mixup import draw_token_mixup
from audioformer.training.trainers.teachers import build_positives, load_teachers

from ..processes import run_on_two_processes

NUM_CLIPS, NUM_LABELS, NUM_CODEBOOKS = 8, 4, 3
TEACHERS = range(1, NUM_CODEBOOKS)
"""Codebooks of the teachers; the anchor reads codebook 0."""


def config(codebook: int = 0, **settings: object) -> AudioFormerConfig:
    # With BERT's narrow initialization all clips have nearly the same vector.
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.5}
    return AudioFormerConfig(**{**sizes, **quiet, "codebook": codebook, "num_labels": NUM_LABELS, **settings})


def classifier(**settings: object) -> AudioFormerForAudioClassification:
    torch.manual_seed(7)
    return AudioFormerForAudioClassification(config(**{"problem_type": "single_label_classification"} | settings))


def teachers() -> list[AudioFormerModel]:
    models = []
    for codebook in TEACHERS:
        torch.manual_seed(codebook)
        models.append(AudioFormerModel(config(codebook)))
    return load_teachers(models, config())


def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 1024, (NUM_CODEBOOKS, length), dtype=np.uint16) for length in (5, 9, 30, 12, 7, 22, 6, 15)]


def labels(multi_label: bool = False) -> np.ndarray:
    classes = np.arange(NUM_CLIPS) % NUM_LABELS
    if not multi_label:
        return classes
    # One clip without any class, and one with all of them.
    hot = np.eye(NUM_LABELS, dtype=np.float32)[classes]
    hot[2], hot[5], hot[0, 3] = 0, 1, 1
    return hot


def cached_examples(folder: Path, multi_label: bool = False) -> CodeExamples:
    positives = build_positives(teachers(), clips(), [str(index) for index in range(NUM_CLIPS)], folder, "codec")
    return CodeExamples(clips(), labels(multi_label), positives=positives)


def online_examples(**options: object) -> CodeExamples:
    return CodeExamples(clips(), labels(), positive_codebooks=TEACHERS, **options)


def arguments(folder: Path, **settings: object) -> AudioFormerTrainingArguments:
    defaults = {
        "output_dir": str(folder / "run"),
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return AudioFormerTrainingArguments(**{**defaults, **settings})


def cached_trainer(
    folder: Path, model: AudioFormerForAudioClassification | None = None, **settings: object
) -> AudioFormerMPCTrainer:
    model = classifier() if model is None else model
    multi_label = model.config.problem_type == "multi_label_classification"
    examples = cached_examples(folder, multi_label)
    return AudioFormerMPCTrainer(model=model, args=arguments(folder, **settings), train_dataset=examples)


def whole_batch(trainer: AudioFormerMPCTrainer) -> dict[str, torch.Tensor]:
    return trainer.data_collator([trainer.train_dataset[index] for index in range(NUM_CLIPS)])


def equation_8(anchors: torch.Tensor, positives: torch.Tensor, temperature: float) -> torch.Tensor:
    """Term by term, as in the paper."""
    vectors = torch.cat([anchors[:, None], positives], dim=1)

    def term(one: torch.Tensor, other: torch.Tensor, sign: int) -> torch.Tensor:
        return (sign * (one @ other) / (one.norm() * other.norm()) / temperature).exp()

    losses = []
    for clip in range(len(anchors)):
        others = [vector for other in range(len(anchors)) if other != clip for vector in vectors[other]]
        negatives = sum(term(anchors[clip], other, 1) for other in others)
        own = sum(term(anchors[clip], positive, -1) for positive in positives[clip])
        losses.append((1 + negatives * own).log())
    return torch.stack(losses).mean()


def equation_5(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    shares = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -shares[torch.arange(len(targets)), targets].log().mean()


def equation_7(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    pairs = [
        sum((scores[j] - scores[i]).exp() for i, one in enumerate(hot) for j, other in enumerate(hot) if one > other)
        for scores, hot in zip(logits, targets, strict=True)
    ]
    return sum(torch.as_tensor(1 + pair, dtype=torch.float64).log() for pair in pairs) / len(pairs)


def gradients(model: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("loss", ["cross_entropy", "lsep"])
def test_the_loss_is_equation_9(loss: str, tmp_path: Path) -> None:
    several = loss == "lsep"
    problem_type = "multi_label_classification" if several else "single_label_classification"
    model = classifier(classification_loss=loss, problem_type=problem_type)
    trainer = cached_trainer(tmp_path, model, classification_weight=0.7, mpc_temperature=0.2)
    batch = whole_batch(trainer)
    assert not batch["attention_mask"].all()

    reference = classifier(classification_loss=loss, problem_type=problem_type).double()
    pooled = []
    for clip in clips():
        ids = torch.tensor([[0, *(clip[0].astype(int) + 3), 2]])
        pooled.append(reference.audioformer(ids).last_hidden_state[0].mean(dim=0))
    anchors = torch.stack(pooled)
    logits = reference.classifier(anchors)
    classification = (equation_7 if several else equation_5)(logits, torch.from_numpy(labels(several)))
    contrastive = equation_8(anchors, torch.from_numpy(np.array(trainer.train_dataset.positives)).double(), 0.2)
    expected = 0.7 * classification + 0.3 * contrastive
    assert contrastive > 1 and classification > 0.1

    value = trainer.compute_loss(model.train(), batch)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    value.backward()
    expected.backward()
    for own, other in zip(gradients(model), gradients(reference), strict=True):
        torch.testing.assert_close(own.double(), other, rtol=1e-3, atol=1e-4)


def test_anchors_are_taken_before_the_dropout(tmp_path: Path) -> None:
    values = []
    for dropout in (0.0, 0.9):
        trainer = cached_trainer(tmp_path, classifier(classifier_dropout=dropout), classification_weight=0.0)
        values.append(trainer.compute_loss(trainer.model.train(), whole_batch(trainer)).item())
    assert values[0] == values[1]


def test_the_backbone_runs_once_a_step(tmp_path: Path) -> None:
    trainer = cached_trainer(tmp_path)
    runs: list[int] = []
    trainer.model.audioformer.register_forward_hook(lambda *_: runs.append(1))
    trainer.train()
    assert len(runs) == 2


def test_cached_and_online_teachers_give_the_same(tmp_path: Path) -> None:
    cached = cached_trainer(tmp_path)
    settings = arguments(tmp_path, online_teachers=True)
    online = AudioFormerMPCTrainer(
        model=classifier(), args=settings, train_dataset=online_examples(), teachers=teachers()
    )
    results = []
    for trainer in (cached, online):
        loss = trainer.compute_loss(trainer.model.train(), whole_batch(trainer))
        loss.backward()
        results.append((loss.item(), gradients(trainer.model)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is None for teacher in online.teachers for parameter in teacher.parameters())


def test_mixup_mixes_for_the_teachers_what_it_mixes_for_the_anchor(tmp_path: Path) -> None:
    settings = arguments(tmp_path, online_teachers=True, mixup_alpha=0.8)
    trainer = AudioFormerMPCTrainer(
        model=classifier(), args=settings, train_dataset=online_examples(), teachers=teachers()
    )
    seen: list[tuple[torch.Tensor, ...]] = []
    trainer.contrastive_loss.register_forward_hook(lambda module, inputs, _: seen.append(inputs))
    batch = whole_batch(trainer)
    torch.manual_seed(5)
    trainer.compute_loss(trainer.model.train(), dict(batch))
    ((anchors, positives),) = seen

    torch.manual_seed(5)
    partners, shares = torch.randperm(NUM_CLIPS), torch.distributions.Beta(0.8, 0.8).sample((NUM_CLIPS,))
    shares = torch.maximum(shares, 1 - shares)[:, None, None]
    mask = batch["attention_mask"].maximum(batch["attention_mask"][partners])
    codebooks = [batch["input_ids"], *batch["positive_input_ids"].unbind(1)]
    vectors = []
    for model, ids in zip([classifier().audioformer, *teachers()], codebooks, strict=True):
        embedded = model.get_input_embeddings()(ids)
        mixed = shares * embedded + (1 - shares) * embedded[partners]
        vectors.append(model(inputs_embeds=mixed, attention_mask=mask).pooler_output)
    torch.testing.assert_close(anchors, vectors[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(positives, torch.stack(vectors[1:], dim=1), rtol=0, atol=1e-5)


def test_token_mixup_takes_the_same_frames_for_the_teachers_as_for_the_anchor(tmp_path: Path) -> None:
    settings = arguments(tmp_path, online_teachers=True, token_mixup_alpha=0.8)
    trainer = AudioFormerMPCTrainer(
        model=classifier(), args=settings, train_dataset=online_examples(), teachers=teachers()
    )
    seen: list[tuple[torch.Tensor, ...]] = []
    trainer.contrastive_loss.register_forward_hook(lambda module, inputs, _: seen.append(inputs))
    batch = whole_batch(trainer)
    torch.manual_seed(5)
    trainer.compute_loss(trainer.model.train(), dict(batch))
    ((anchors, positives),) = seen

    torch.manual_seed(5)
    partners, taken, _ = draw_token_mixup(batch["attention_mask"], 0.8)
    assert taken.any()
    codebooks = [batch["input_ids"], *batch["positive_input_ids"].unbind(1)]
    vectors = []
    for model, ids in zip([classifier().audioformer, *teachers()], codebooks, strict=True):
        mixed = ids.clone()
        mixed[taken] = ids[partners][taken]
        vectors.append(model(input_ids=mixed, attention_mask=batch["attention_mask"]).pooler_output)
    torch.testing.assert_close(anchors, vectors[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(positives, torch.stack(vectors[1:], dim=1), rtol=0, atol=1e-5)


def test_crops_go_with_online_teachers(tmp_path: Path) -> None:
    settings = arguments(tmp_path, online_teachers=True, crop_frames=6)
    trainer = AudioFormerMPCTrainer(
        model=classifier(), args=settings, train_dataset=online_examples(crop_frames=6), teachers=teachers()
    )
    trainer.train()
    assert all(np.isfinite(record["mpc_loss"]) for record in trainer.state.log_history[:2])


def test_both_parts_are_logged_and_evaluations_have_one(tmp_path: Path) -> None:
    trainer = cached_trainer(
        tmp_path, classification_weight=0.8, gradient_accumulation_steps=2, per_device_train_batch_size=2
    )
    trainer.train()
    for record in trainer.state.log_history[:2]:
        parts = 0.8 * record["classification_loss"] + 0.2 * record["mpc_loss"]
        assert record["loss"] == pytest.approx(parts, rel=1e-5) and record["mpc_loss"] > 0.1
    plain = CodeExamples(clips(), labels())
    metrics = trainer.evaluate(plain)
    other = AudioFormerClassificationTrainer(model=trainer.model, args=trainer.args)
    assert metrics["eval_loss"] == pytest.approx(other.evaluate(plain)["eval_loss"], rel=1e-6)
    assert "eval_mpc_loss" not in trainer.state.log_history[-1]
    # Positives in the data change nothing there.
    assert trainer.evaluate(trainer.train_dataset)["eval_loss"] == pytest.approx(metrics["eval_loss"], rel=1e-6)


def test_the_saved_model_is_that_of_ft1(tmp_path: Path) -> None:
    frozen = teachers()
    before = [{name: weight.clone() for name, weight in teacher.state_dict().items()} for teacher in frozen]
    settings = arguments(tmp_path, online_teachers=True, save_strategy="steps", save_steps=2, weight_decay=0.1)
    trainer = AudioFormerMPCTrainer(
        model=classifier(), args=settings, train_dataset=online_examples(), teachers=frozen
    )
    trainer.train()
    ft1 = AudioFormerClassificationTrainer(
        model=classifier(), args=arguments(tmp_path / "ft1"), train_dataset=CodeExamples(clips(), labels())
    )
    ft1.train()
    for one in (trainer, ft1):
        one.save_model()
    folders = [Path(one.args.output_dir) for one in (trainer, ft1)]
    assert [json.loads((folder / "config.json").read_text())["architectures"] for folder in folders] == [
        ["AudioFormerForAudioClassification"]
    ] * 2
    saved, of_ft1, resumable = (
        {name: weight.shape for name, weight in load_file(folder / "model.safetensors").items()}
        for folder in (*folders, folders[0] / "checkpoint-2")
    )
    assert saved == of_ft1 == resumable
    loaded = AudioFormerForAudioClassification.from_pretrained(folders[0])
    assert loaded.num_parameters() == ft1.model.num_parameters()
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    optimized = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert optimized == {id(parameter) for parameter in trainer.model.parameters()}
    for teacher, weights in zip(frozen, before, strict=True):
        assert not teacher.training
        for name, weight in teacher.state_dict().items():
            assert torch.equal(weight, weights[name])


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"gradient_checkpointing": True}, 1e-5),
        ({"torch_compile": True, "torch_compile_backend": "aot_eager"}, 1e-4),
        ({"bf16": True}, 0.1),
    ],
)
def test_under_what_wraps_the_forward(settings: dict[str, object], tolerance: float, tmp_path: Path) -> None:
    plain = cached_trainer(tmp_path)
    plain.train()
    wrapped = cached_trainer(tmp_path, **settings)
    wrapped.train()
    for record, expected in zip(wrapped.state.log_history[:2], plain.state.log_history[:2], strict=True):
        for name in ("loss", "classification_loss", "mpc_loss"):
            assert record[name] == pytest.approx(expected[name], rel=tolerance, abs=tolerance)
    for name, weight in plain.model.state_dict().items():
        torch.testing.assert_close(wrapped.model.state_dict()[name], weight, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("settings", "with_teachers", "message"),
    [
        ({"crop_frames": 5}, False, "`crop_frames` 5 changes clips.*set `online_teachers`"),
        ({"mixup_alpha": 0.2}, False, "`mixup_alpha` 0.2 changes clips.*set `online_teachers`"),
        ({"token_mixup_alpha": 0.2}, False, "`token_mixup_alpha` 0.2 changes clips.*set `online_teachers`"),
        ({"online_teachers": True}, False, "got 0 teachers and `online_teachers` True"),
        ({}, True, "got 2 teachers and `online_teachers` False"),
    ],
)
def test_refuses(settings: dict[str, object], with_teachers: bool, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        AudioFormerMPCTrainer(
            model=classifier(), args=arguments(tmp_path, **settings), teachers=teachers() if with_teachers else None
        )


def test_refuses_batches_without_positives(tmp_path: Path) -> None:
    plain = CodeExamples(clips(), labels())
    cached = AudioFormerMPCTrainer(model=classifier(), args=arguments(tmp_path), train_dataset=plain)
    with pytest.raises(ValueError, match="must have `positives`.*from `build_positives`"):
        cached.train()
    settings = arguments(tmp_path, online_teachers=True)
    online = AudioFormerMPCTrainer(model=classifier(), args=settings, train_dataset=plain, teachers=teachers())
    with pytest.raises(ValueError, match="must have `positive_input_ids`.*`positive_codebooks`"):
        online.train()


def train_and_keep(folder: Path, name: str, **settings: object) -> None:
    """Two steps of SGD; keeps the log and the weights."""
    trainer = cached_trainer(folder, classification_weight=0.5, mpc_temperature=0.2, **settings)
    trainer.train()
    if trainer.is_world_process_zero():
        records = [
            [record[part] for part in ("loss", "classification_loss", "mpc_loss", "grad_norm")]
            for record in trainer.state.log_history[:2]
        ]
        torch.save({"records": records, "weights": trainer.model.state_dict()}, folder / f"{name}.pt")


def on_one_of_two_processes(folder: Path) -> None:
    for gather in (True, False):
        name = "gathered" if gather else "apart"
        train_and_keep(folder, name, per_device_train_batch_size=2, gather_across_devices=gather)


def test_two_processes_equal_one_with_the_joined_batch(tmp_path: Path) -> None:
    run_on_two_processes(on_one_of_two_processes, tmp_path)
    train_and_keep(tmp_path, "alone")
    alone, gathered, apart = (torch.load(tmp_path / f"{name}.pt") for name in ("alone", "gathered", "apart"))
    np.testing.assert_allclose(gathered["records"], alone["records"], rtol=1e-4)
    start = classifier().state_dict()
    for name, weight in alone["weights"].items():
        # Two steps of SGD change the weights by their gradients.
        torch.testing.assert_close(gathered["weights"][name] - start[name], weight - start[name], rtol=1e-3, atol=1e-5)
    # Without gathering there are fewer negatives, so this comparison can fail.
    assert np.abs(np.array(apart["records"])[:, 2] - np.array(alone["records"])[:, 2]).min() > 1e-2
    assert np.abs(np.array(apart["records"])[:, 3] / np.array(alone["records"])[:, 3] - 1).min() > 1e-2
