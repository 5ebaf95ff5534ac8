"""The package in programs that were written for other models: transformers' own Trainer and pipelines, and peft."""

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainingArguments,
    pipeline,
)

from audioformer import AudioFormerConfig, AudioFormerModel, classify_file
from audioformer.model_cards import TINY_ESC10
from audioformer.modeling_audioformer import modeling_audioformer

LABELS = ["low", "high", "noise"]


def waveforms(count: int) -> list[np.ndarray]:
    """Clips of unequal lengths, in turn of each of `LABELS`."""
    rng, clips = np.random.default_rng(0), []
    for index in range(count):
        time = np.arange(6000 + 500 * index) / 24000
        clip = rng.standard_normal(len(time)) if index % 3 == 2 else np.sin(2 * np.pi * (200, 3000)[index % 3] * time)
        clips.append((0.2 * clip).astype(np.float32))
    return clips


@pytest.fixture(scope="module")
def extractor():
    return AutoFeatureExtractor.from_pretrained(TINY_ESC10, return_attention_mask=True)


@pytest.fixture(scope="module")
def clips(extractor) -> datasets.Dataset:
    """A data set that is encoded when its rows are read."""
    features = datasets.Features(
        {"audio": datasets.List(datasets.Value("float32")), "label": datasets.ClassLabel(names=LABELS)}
    )
    columns = {"audio": waveforms(6), "label": [index % 3 for index in range(6)]}
    clips = datasets.Dataset.from_dict(columns, features=features)

    def encode(batch: dict) -> dict:
        arrays = [np.array(audio, dtype=np.float32) for audio in batch["audio"]]
        inputs = extractor(arrays, sampling_rate=extractor.sampling_rate)
        return {"input_ids": inputs.get("input_ids"), "labels": list(batch["label"])}

    clips.set_transform(encode, output_all_columns=False)
    return clips


def classifier_for(clips: datasets.Dataset):
    """As scripts do it: first the configuration, with the labels as they stand in JSON, then the model."""
    names = clips.features["label"].names
    config = AutoConfig.from_pretrained(
        TINY_ESC10,
        num_labels=len(names),
        label2id={name: str(index) for index, name in enumerate(names)},
        id2label={str(index): name for index, name in enumerate(names)},
        finetuning_task="audio-classification",
        trust_remote_code=False,
    )
    return AutoModelForAudioClassification.from_pretrained(TINY_ESC10, config=config, ignore_mismatched_sizes=True)


def arguments(folder: Path, **changes) -> TrainingArguments:
    options = {
        "per_device_train_batch_size": 3,
        "per_device_eval_batch_size": 2,
        "max_steps": 3,
        "learning_rate": 1e-3,
    }
    quiet = {
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "save_strategy": "no",
    }
    # Rows have the columns of the audio until they are read.
    return TrainingArguments(str(folder), remove_unused_columns=False, **options, **quiet, **changes)


def compute_metrics(found: EvalPrediction) -> dict[str, float]:
    """As scripts have it, for models that return more than their logits."""
    logits = found.predictions[0] if isinstance(found.predictions, tuple) else found.predictions
    return {"accuracy": float((logits.argmax(axis=1) == found.label_ids).mean())}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_script_for_waveform_models_fine_tunes_ours(clips, extractor, tmp_path, num_workers):
    model = classifier_for(clips)
    model.freeze_feature_encoder()
    assert all(parameter.requires_grad for parameter in model.parameters())
    trainer = Trainer(
        model=model,
        args=arguments(tmp_path, dataloader_num_workers=num_workers),
        train_dataset=clips,
        eval_dataset=clips,
        compute_metrics=compute_metrics,
        processing_class=extractor,
    )
    assert isinstance(trainer.data_collator, DataCollatorWithPadding)
    before = model.classifier.weight.clone()
    result = trainer.train()
    assert result.training_loss > 0 and not torch.equal(before, model.classifier.weight)
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1
    if num_workers:
        return
    trainer.save_model()
    trainer.create_model_card(finetuned_from="someone/model", tasks="audio-classification", dataset="clips")
    scores = pipeline("audio-classification", model=str(tmp_path))(waveforms(1)[0])
    assert {score["label"] for score in scores} == set(LABELS)


def test_lora_trains_and_merges(clips, extractor, tmp_path):
    peft = pytest.importorskip("peft")
    base = classifier_for(clips)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"])
    model = peft.get_peft_model(base, config)
    assert any("lora" in name for name, parameter in model.named_parameters() if parameter.requires_grad)
    frozen = {name: weight.clone() for name, weight in base.audioformer.embeddings.named_parameters()}
    Trainer(model, arguments(tmp_path), train_dataset=clips, processing_class=extractor).train()
    for name, weight in base.audioformer.embeddings.named_parameters():
        assert torch.equal(frozen[name], weight), name
    model.eval()
    inputs = extractor(waveforms(2), sampling_rate=24000, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits
    model.save_pretrained(tmp_path / "adapter")
    fresh = classifier_for(clips)
    merged = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter").merge_and_unload().eval()
    with torch.no_grad():
        torch.testing.assert_close(merged(**inputs).logits, expected, atol=1e-4, rtol=1e-4)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """The warnings of the model; each is given once a process, so they are recorded before that rule."""
    messages: list[str] = []
    monkeypatch.setattr(modeling_audioformer.logger, "warning_once", messages.append)
    return messages


def tiny(hidden_size: int = 8) -> AudioFormerModel:
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 4 * hidden_size}
    return AudioFormerModel(AudioFormerConfig(hidden_size=hidden_size, **sizes)).eval()


@pytest.mark.parametrize(("seconds", "warns"), [(10, False), (60, False), (61, True), (90, True)])
def test_a_long_clip_warns_of_its_cost_before_it_is_computed(said, monkeypatch, seconds, warns):
    model = tiny()
    monkeypatch.setattr(modeling_audioformer.AudioFormerLayer, "forward", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(torch.full((1, 75 * seconds), 5))
    assert bool(said) == warns
    if warns:
        assert f"A clip of {seconds / 60:.1f} minutes" in said[0] and "audioformer.classify_file" in said[0]


def test_the_stated_cost_is_that_of_the_operations(said):
    model = tiny(64)
    # The plain products are counted; the fast kernels of attention are not known to the counter on every device.
    model.set_attn_implementation("eager")
    operations = {}
    for length in (752, 4600):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.full((1, length), 5))
        operations[length] = counter.get_total_flops() / length
    stated = float(said[0].partition("about ")[2].partition(" times")[0])
    assert stated == pytest.approx(operations[4600] / operations[752], abs=0.06)


def test_packed_and_compiled_clips_do_not_warn(said, monkeypatch):
    model, length = tiny(), 76 * 60
    limits = torch.arange(0, length + 1, 76, dtype=torch.int32)
    positions = torch.arange(length)[None] % 76
    packed = {"cu_seq_lens_q": limits, "cu_seq_lens_k": limits, "max_length_q": 76, "max_length_k": 76}
    with torch.no_grad():
        model(torch.full((1, length), 5), position_ids=positions, **packed)
    assert not said
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        modeling_audioformer.warn_of_long_clips(model.config, 4600)
    assert not said
    modeling_audioformer.warn_of_long_clips(model.config, 4600)
    assert said


def test_the_helper_classifies_ten_minutes_window_by_window(said):
    classifier = pipeline("audio-classification", model=str(TINY_ESC10))
    lengths = []
    forward = classifier.model.forward
    classifier.model.forward = lambda *arguments, **inputs: (
        lengths.append(inputs["input_ids"].shape[1]) or forward(*arguments, **inputs)
    )
    # Stereo at another rate, which `pipeline` itself refuses.
    array = 0.1 * np.random.default_rng(0).standard_normal((2, 8000 * 65)).astype(np.float32)
    scores = classify_file({"array": array, "sampling_rate": 8000}, classifier)
    assert len(scores.windows) == 7 and max(lengths) <= 752 and not said
