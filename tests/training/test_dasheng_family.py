"""Dasheng through the commands: a file in the authors' format is converted, and the folder goes through them."""

import hashlib
import json
import pathlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModel, pipeline

from audioformer import (
    DashengConfig,
    DashengFeatureExtractor,
    DashengForAudioClassification,
    DashengForPreTraining,
    DashengModel,
)
from audioformer.app.sound_classifier import SoundClassifier
from audioformer.cli import main
from audioformer.commands.arguments import parse_settings
from audioformer.data.audio import load_audio
from audioformer.modeling_dasheng import convert_dasheng
from audioformer.training.families import families
from audioformer.training.recipes import available_recipes, load_recipe
from tests.modeling_dasheng.common import read_fixture
from tests.requirements import import_or_skip

LABELS = {"/m/1": "hum", "/m/2": "hiss", "/m/3": "C", "/m/4": "D", "/m/5": "E", "/m/6": "F", "/m/7": "G"}
CPU = ["--use-cpu", "--disable-tqdm", "true"]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Hums and hisses of half a second, in folders of classes, for training and for testing."""
    folder = tmp_path_factory.mktemp("sounds")
    for index in range(24):
        rng = np.random.default_rng(index)
        kind = ("hum", "hiss")[index % 2]
        hum = 0.3 * np.sin(2 * np.pi * rng.uniform(150, 400) * np.arange(8000) / 16000)
        waveform = hum if kind == "hum" else 0.1 * rng.standard_normal(8000)
        path = folder / ("test" if index % 4 >= 2 else "train") / kind / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, waveform, 16000)
    return folder


def official(name: str) -> tuple[dict[str, torch.Tensor], dict]:
    """Weights with the names of the authors' code and with their front end, and the settings of the encoder."""
    weights, _, settings = read_fixture(name)
    front_end = {key: value for key, value in read_fixture("front_end")[1].items() if key.startswith("front_end")}
    return {**front_end, **weights}, settings


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory) -> Path:
    """Like the fine-tuned file of the authors: a flat state dict. Only its size is not one of theirs."""
    file = tmp_path_factory.mktemp("official") / "dasheng_audioset_mAP497.pt"
    weights, settings = official("classifier")
    torch.save({"model": weights, "config": settings}, file)
    return file


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Path:
    table = tmp_path_factory.mktemp("names") / "class_labels_indices.csv"
    rows = [f'{index},{mid},"{name}"' for index, (mid, name) in enumerate(LABELS.items())]
    table.write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    return table


@pytest.fixture(scope="module")
def converted(fine_tuned, names, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "dasheng"
    assert main(["convert", "dasheng", str(fine_tuned), "--output", str(folder), "--labels", str(names)]) == 0
    return folder


def test_convert_keeps_weights_labels_and_settings(converted, fine_tuned):
    config = DashengConfig.from_pretrained(converted)
    assert list(config.id2label.values()) == list(LABELS.values())  # in the order of the table
    assert config.label_ids == {name: mid for mid, name in LABELS.items()}
    assert config.problem_type == "multi_label_classification"
    assert (config.num_attention_heads, config.num_time_positions) == (12, 20)
    assert type(AutoModel.from_pretrained(converted)) is DashengModel
    assert type(AutoFeatureExtractor.from_pretrained(converted)) is DashengFeatureExtractor
    weights = load_file(converted / "model.safetensors")
    source = torch.load(fine_tuned, weights_only=True)["model"]
    assert torch.equal(weights["classifier.weight"], source["outputlayer.1.weight"])
    assert torch.equal(weights["dasheng.layers.0.attention.k_proj.bias"], source["blocks.0.attn.qkv.bias"][24:48])
    loaded, info = DashengForAudioClassification.from_pretrained(converted, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.dasheng.embeddings.batch_norm.running_var.min() > 100


def test_ids_of_labels_in_older_folders_are_a_list(converted, tmp_path):
    saved = json.loads((converted / "config.json").read_text())
    saved["label_ids"] = list(LABELS)
    (tmp_path / "config.json").write_text(json.dumps(saved))
    config = DashengConfig.from_pretrained(tmp_path)
    assert config.label_ids == {name: mid for mid, name in LABELS.items()}
    config.save_pretrained(tmp_path)
    assert DashengConfig.from_pretrained(tmp_path).label_ids == config.label_ids
    sorted_as_text = {str(index): f"name {index}" for index in sorted(range(12), key=str)}
    config = DashengConfig.from_dict({"id2label": sorted_as_text, "label_ids": [f"id {index}" for index in range(12)]})
    assert config.label_ids == {f"name {index}": f"id {index}" for index in range(12)}
    # Ids that a classifier had before it was trained on other labels.
    assert DashengConfig(num_labels=2, label_ids=list(LABELS)).label_ids is None


def test_convert_prints_the_sum_of_the_file_and_what_it_wrote(fine_tuned, tmp_path, capsys, monkeypatch):
    summed = []
    digest_of = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: summed.append(file.name) or digest_of(file, kind))
    assert main(["convert", "dasheng", str(fine_tuned), "--output", str(tmp_path / "out")]) == 0
    shown, digest = capsys.readouterr().out, hashlib.sha256(fine_tuned.read_bytes()).hexdigest()
    assert digest in shown and "DashengForAudioClassification" in shown and "7 labels: LABEL_0" in shown
    card = (tmp_path / "out" / "README.md").read_text()
    assert digest in card and fine_tuned.name in card and str(fine_tuned.parent) not in card
    assert summed == [str(fine_tuned)]  # once: a file may have gigabytes


@pytest.mark.parametrize(
    ("name", "model_class"), [("encoder_06b", DashengModel), ("autoencoder", DashengForPreTraining)]
)
def test_convert_knows_what_a_file_holds(name, model_class, tmp_path, capsys):
    weights, settings = official(name)
    if name == "autoencoder":
        settings["group_masking"] = 5
    torch.save(
        {"model": weights, "config": {**settings, "outputdir": pathlib.PurePosixPath("runs/x")}}, tmp_path / "f"
    )
    assert main(["convert", "dasheng", str(tmp_path / "f"), "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert model_class.__name__ in shown and "are not used: outputdir" in shown
    loaded, info = model_class.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.config.mask_group_size == (5 if name == "autoencoder" else 2)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [model_class.__name__]


@pytest.mark.parametrize("form", ["safetensors", "shards", "bin"])
def test_convert_reads_folders_of_the_port(form, tmp_path, capsys):
    weights, settings = official("encoder_12b")
    prefixed = {f"encoder.{name}": value for name, value in weights.items() if not name.startswith("front_end")}
    folder = tmp_path / "port"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"name": "small", "loss": "BCE", "encoder_kwargs": settings}))
    parts = [prefixed] if form != "shards" else [dict(list(prefixed.items())[:9]), dict(list(prefixed.items())[9:])]
    for number, part in enumerate(parts, 1):
        if form == "bin":
            torch.save(part, folder / "pytorch_model.bin")
        else:
            save_file(part, folder / f"model-{number}-of-{len(parts)}.safetensors")
    assert main(["convert", "dasheng", str(folder), "--output", str(tmp_path / "out")]) == 0
    assert "SHA-256 of port" in capsys.readouterr().out
    torch.save({"model": weights, "config": settings}, tmp_path / "file.pt")
    assert main(["convert", "dasheng", str(tmp_path / "file.pt"), "--output", str(tmp_path / "same")]) == 0
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "same"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_sum_of_several_files_is_that_of_their_list(tmp_path, capsys):
    test_convert_reads_folders_of_the_port("shards", tmp_path, capsys)
    files = sorted((tmp_path / "port").glob("*.safetensors"))
    listing = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    assert hashlib.sha256(listing.encode()).hexdigest() in (tmp_path / "out" / "README.md").read_text()


def test_large_models_are_written_in_shards(tmp_path, monkeypatch):
    weights, settings = official("encoder_base")
    torch.save({"model": weights, "config": settings}, tmp_path / "file.pt")
    sizes, save = [], convert_dasheng.save_file

    def recorded(shard, *arguments, **options):
        sizes.append(sum(value.nbytes for value in shard.values()))
        save(shard, *arguments, **options)

    monkeypatch.setattr(convert_dasheng, "MAX_SHARD_SIZE", "50KB")
    monkeypatch.setattr(convert_dasheng, "save_file", recorded)
    assert main(["convert", "dasheng", str(tmp_path / "file.pt"), "--output", str(tmp_path / "out")]) == 0
    assert len(sizes) > 2 and max(sizes) <= 50_000
    loaded, info = DashengModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(loaded.embeddings.time_positions, weights["time_pos_embed"][0, :, 0].T)


def test_heads_are_those_of_the_released_sizes():
    """A flat file says nothing of its heads, and settings of a training may be those of another model."""
    for size, heads in ((768, 12), (1280, 16), (1536, 24)):
        depth = {768: 12, 1280: 32, 1536: 40}[size]
        shapes = {
            "time_pos_embed": (1, size, 1, 252),
            "patch_embed.proj.weight": (size, 1, 64, 4),
            "blocks.0.mlp.fc1.weight": (4 * size, size),
            f"blocks.{depth - 1}.norm1.weight": (size,),
        }
        weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        for stated in ({}, {"num_heads": 8}):
            checkpoint = convert_dasheng.DashengCheckpoint(weights, stated)
            settings, _ = convert_dasheng.read_settings(checkpoint)
            assert settings["num_attention_heads"] == heads
        assert settings.get("decoder_hidden_size") == (768 if size == 1536 else None)


class Anything:
    """A class that no converter allows."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": Anything()}, r"objects of .*\.Anything; allowed besides tensors .*pathlib"),
        ({"optimizer": {}}, "holds optimizer besides model and config"),
        ({"config": {"embed_dim": 24}}, "Nothing says how many attention heads a model of 1 layers and width 24"),
        ({"config": {"num_heads": 12, "n_mels": 128}}, "`n_mels` of the checkpoint is 128: only 64"),
        ({"config": {"num_heads": 12, "pooling": "token"}}, "`pooling` of the checkpoint is 'token'"),
        ({"config": {"num_heads": 7}}, "`hidden_size` must be a multiple of `num_attention_heads`"),
        ({"drop": "norm.weight"}, "do not fit its settings, 1 differ: dasheng.layer_norm.weight"),
        ({"drop": "time_pos_embed"}, "no weights 'time_pos_embed': it is no Dasheng"),
        ({"add": "blocks.0.ls1.gamma"}, r"do not fit its settings, 1 differ: .*ls1.gamma"),
        ({"add": "front_end.0.spectrogram.window"}, "trained on other spectrograms"),
        ({"model": {}}, "must hold tensors by name"),
    ],
)
def test_convert_names_what_is_wrong(changes, message, tmp_path, capsys):
    weights, settings = official("classifier")
    weights.pop(changes.pop("drop", ""), None)
    for name in filter(None, [changes.pop("add", "")]):
        weights[name] = torch.ones(512)
    torch.save({"model": weights, "config": settings, **changes}, tmp_path / "file.pt")
    assert main(["convert", "dasheng", str(tmp_path / "file.pt"), "--output", str(tmp_path / "out")]) == 1
    assert re.search(message, " ".join(capsys.readouterr().err.split()))
    assert not (tmp_path / "out").exists()


def test_convert_refuses_labels_that_do_not_fit(fine_tuned, names, tmp_path, capsys):
    short = tmp_path / "short.csv"
    short.write_text("index,mid,display_name\n0,/m/1,hum\n")
    flags = ["--output", str(tmp_path / "out"), "--labels"]
    assert main(["convert", "dasheng", str(fine_tuned), *flags, str(short)]) == 1
    assert "has 7 labels, and the table of names has 1" in " ".join(capsys.readouterr().err.split())
    weights, settings = official("encoder_06b")
    torch.save({"model": weights, "config": settings}, tmp_path / "encoder.pt")
    assert main(["convert", "dasheng", str(tmp_path / "encoder.pt"), *flags, str(names)]) == 1
    assert "no classifier, so no labels" in capsys.readouterr().err


def test_folders_without_weights_and_folders_for_files_are_named(tmp_path, converted, capsys):
    for kind, folder, message in (
        ("dasheng", tmp_path, "has no weights"),
        ("dasheng", tmp_path / "none", "does not exist"),
        ("beats", converted, "a checkpoint of this kind is a file"),
        ("encodec", converted, "a checkpoint of this kind is a file"),
    ):
        assert main(["convert", kind, str(folder), "--output", str(tmp_path / "out")]) == 1
        assert message in " ".join(capsys.readouterr().err.split())


def test_classify_pipeline_and_the_page(converted, sounds, capsys):
    file = next((sounds / "test" / "hum").glob("*.wav"))
    assert main(["classify", "--model", str(converted), "--json", str(file)]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert len(scores) == 5 and scores.keys() < set(LABELS.values())
    classifier = pipeline("audio-classification", model=str(converted))
    assert type(classifier.model) is DashengForAudioClassification
    by_pipeline = {entry["label"]: entry["score"] for entry in classifier(load_audio(file, 16000)[0], top_k=5)}
    assert scores == pytest.approx(by_pipeline, abs=1e-5)
    shown = SoundClassifier(str(converted))(file)
    assert shown.heard.view.values.shape == (64, 51) and "spectrogram" in shown.heard.view.title


def finetune(converted, sounds, output, *flags) -> Path:
    command = ["finetune", "--recipe", "tiny_dasheng_finetune", "--model", str(converted), "--new-head"]
    common = ["--data", str(sounds), "--output", str(output), "--num-train-epochs", "2", *CPU]
    common += ["--per-device-train-batch-size", "2", "--warmup-steps", "0"]
    assert main([*command, *common, *flags]) == 0
    return output


@pytest.fixture(scope="module")
def finetuned(converted, sounds, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "finetuned"
    return finetune(converted, sounds, output, "--layer-wise-lr-decay", "0.8", "--window-hop", "10")


def test_finetune_continues_from_the_converted_folder(finetuned, converted):
    results = json.loads((finetuned / "eval_results.json").read_text())
    assert results["num_clips"] == 12 and results["settings"]["family"] == DashengConfig.model_type
    config = DashengConfig.from_pretrained(finetuned)
    assert sorted(config.id2label.values()) == ["hiss", "hum"]
    assert (config.hidden_size, config.window_hop) == (24, 10)
    before, after = (load_file(folder / "model.safetensors") for folder in (converted, finetuned))
    for name in ("dasheng.layers.0.mlp.up_proj.weight", "dasheng.embeddings.time_positions"):
        assert 0 < (before[name] - after[name]).abs().max() < 0.1
    assert not torch.equal(
        before["dasheng.embeddings.batch_norm.running_mean"], after["dasheng.embeddings.batch_norm.running_mean"]
    )
    card = (finetuned / "README.md").read_text()
    assert "Dasheng" in card and "mel spectrograms of 64 bins in dB, in pieces of 40 ms" in card


def test_a_frozen_encoder_stays_as_it_was(converted, sounds, tmp_path):
    output = finetune(converted, sounds, tmp_path / "frozen", "--freeze-encoder", "true")
    before, after = (load_file(folder / "model.safetensors") for folder in (converted, output))
    changed = {name.split(".")[0] for name in before if before[name].shape != after[name].shape} | {
        name.split(".")[0] for name in before if not torch.equal(before[name], after[name])
    }
    assert changed == {"classifier", "pooler_layer_norm"}


def test_a_fresh_encoder_is_not_frozen(sounds, tmp_path, capsys):
    flags = ["--data", str(sounds), "--output", str(tmp_path), "--freeze-encoder", "true"]
    with pytest.raises(SystemExit):
        main(["finetune", "--recipe", "tiny_dasheng_finetune", *flags])
    assert "`freeze_encoder` needs `model`" in " ".join(capsys.readouterr().err.split())


def test_evaluate_gives_the_same_metric(finetuned, sounds, tmp_path):
    command = ["evaluate", "--model", str(finetuned), "--data", str(sounds), "--output", str(tmp_path / "e")]
    assert main([*command, "--use-cpu"]) == 0
    again, first = (json.loads((path / "eval_results.json").read_text()) for path in (tmp_path / "e", finetuned))
    assert again["accuracy"] == first["accuracy"]


def test_finetune_from_scratch_learns(sounds, tmp_path):
    output = tmp_path / "scratch"
    command = ["finetune", "--recipe", "tiny_dasheng_finetune", "--data", str(sounds), "--output", str(output), *CPU]
    sizes = ["--hidden-size", "32", "--num-attention-heads", "2", "--intermediate-size", "32", "--num-hidden-layers"]
    assert main([*command, *sizes, "1", "--num-train-epochs", "8"]) == 0
    results = json.loads((output / "eval_results.json").read_text())
    assert results["accuracy"] >= 0.9
    config = DashengConfig.from_pretrained(output)
    assert (config.hidden_size, config.num_hidden_layers, config.hidden_dropout_prob) == (32, 1, 0.1)


def test_export_writes_classifier_and_filterbank(converted, tmp_path, capsys):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        import_or_skip(name, "ONNX is not installed: it comes with the extra `onnx`")
    assert main(["export", "--onnx", "--model", str(converted), "--output", str(tmp_path / "onnx")]) == 0
    shown = capsys.readouterr().out
    assert "logits within" in shown and "spectrograms of noise within" in shown and "at most 20 steps" in shown
    import onnxruntime

    sessions = {
        name: onnxruntime.InferenceSession(tmp_path / "onnx" / f"{name}.onnx") for name in ("filterbank", "model")
    }
    waveform = (0.1 * np.random.default_rng(0).standard_normal((2, 9001))).astype(np.float32)
    waveform[1, 4000:] = 0  # the floor is that of each clip
    (features,) = sessions["filterbank"].run(None, {"waveform": waveform})
    mask = np.ones((2, features.shape[1] // 4), np.int64)
    (logits,) = sessions["model"].run(None, {"input_features": features, "attention_mask": mask})
    inputs = DashengFeatureExtractor()(list(waveform), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = DashengForAudioClassification.from_pretrained(converted)(**inputs).logits.numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_recipes_load_and_name_the_family(converted):
    family = next(one for one in families() if one.name == DashengConfig.model_type)
    folders = {family.name: family.recipes}
    recipes = available_recipes(folders)
    assert {"our_dasheng_audioset", "our_dasheng_esc50", "our_dasheng_frozen", "tiny_dasheng_finetune"} < set(recipes)
    for name in recipes:
        assert load_recipe(name, folders).family == family.name
        if "finetune" not in name and "our" not in name:
            continue
        start = ["--model", str(converted), "--new-head"] if "frozen" in name else []
        settings = parse_settings(["--recipe", name, "--output", "unused", *start], "finetune", "")
        assert settings.family is family and settings.training.adam_beta2 == 0.98
        text = (family.recipes / f"{name}.yaml").read_text()
        assert text.startswith("# ") and ("our own" in text or "ours" in text or "not in the paper" in text)


PRETRAIN = ["pretrain", "--recipe", "tiny_dasheng", "--held-out-share", "0.3", *CPU]
TINY = ["--hidden-size", "24", "--num-attention-heads", "2", "--intermediate-size", "32", "--num-hidden-layers", "1"]
TINY += ["--decoder-hidden-size", "16", "--decoder-num-attention-heads", "2", "--decoder-num-hidden-layers", "1"]


@pytest.fixture(scope="module")
def pretrained(sounds, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "pretrained"
    flags = ["--data", str(sounds), "--output", str(output), "--num-train-epochs", "30", "--warmup-steps", "0"]
    flags += ["--eval-strategy", "steps", "--eval-steps", "45", "--save-strategy", "steps", "--save-steps", "45"]
    assert main([*PRETRAIN, *TINY, *flags, "--per-device-train-batch-size", "4", "--learning-rate", "3e-3"]) == 0
    return output


def test_pretraining_learns_more_than_the_mean_of_a_patch(pretrained):
    results = json.loads((pretrained / "pretrain_results.json").read_text())
    # Chance is about 1; even so small a model soon knows that hums are low and that bins keep their level.
    assert results["held_out_loss"] < 0.9 and results["held_out_clips"] + results["train_clips"] == 12
    assert type(AutoModel.from_pretrained(pretrained)) is DashengModel
    model = DashengForPreTraining.from_pretrained(pretrained)
    assert results["num_parameters"] == model.num_parameters()
    assert model.dasheng.embeddings.batch_norm.num_batches_tracked > 30
    with Image.open(pretrained / "training" / "reconstruction.png") as picture:
        assert picture.width > 1000 and len(picture.convert("RGB").getcolors(1 << 24)) > 100
    card = (pretrained / "README.md").read_text()
    assert "masked autoencoding" in card and f"{results['held_out_loss']:.4f}" in card


def test_a_pretrained_folder_is_fine_tuned(pretrained, sounds, tmp_path):
    output = finetune(pretrained, sounds, tmp_path / "finetuned")
    assert DashengConfig.from_pretrained(output).architectures == ["DashengForAudioClassification"]
    weights = load_file(output / "model.safetensors")
    assert not [name for name in weights if name.startswith("decoder")]


def test_a_resumed_run_ends_where_a_whole_one_does(sounds, tmp_path):
    def run(output, *flags) -> int:
        common = ["--data", str(sounds), "--output", str(output), "--num-train-epochs", "2", "--warmup-steps", "0"]
        return main([*PRETRAIN, *TINY, *common, "--per-device-train-batch-size", "4", *flags])

    assert run(tmp_path / "whole", "--keep-checkpoints", "true") == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut" / "pretrain_results.json").unlink()
    checkpoints = sorted((tmp_path / "cut" / "training").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    assert len(checkpoints) == 2
    shutil.rmtree(checkpoints[-1])
    assert run(tmp_path / "cut") == 1  # there is a run
    assert run(tmp_path / "cut", "--resume-from-checkpoint") == 0
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, atol=1e-6, rtol=1e-5)


def test_evaluations_of_pretraining_draw_the_same_masks(pretrained, sounds):
    log = json.loads((pretrained / "training" / "trainer_state.json").read_text())["log_history"]
    losses = [entry["eval_loss"] for entry in log if "eval_loss" in entry]
    assert len(losses) >= 2
    results = json.loads((pretrained / "pretrain_results.json").read_text())
    assert results["held_out_loss"] == pytest.approx(min(losses), rel=1e-5)


def test_pretraining_continues_from_a_converted_encoder(tmp_path, sounds):
    weights, settings = official("autoencoder")
    settings["target_length"] = 80
    torch.save({"model": weights, "config": settings}, tmp_path / "file.pt")
    assert main(["convert", "dasheng", str(tmp_path / "file.pt"), "--output", str(tmp_path / "start")]) == 0
    flags = ["--data", str(sounds), "--output", str(tmp_path / "out"), "--num-train-epochs", "1"]
    assert main([*PRETRAIN, "--model", str(tmp_path / "start"), *flags, "--per-device-train-batch-size", "4"]) == 0
    config = DashengConfig.from_pretrained(tmp_path / "out")
    assert (config.hidden_size, config.decoder_hidden_size, config.num_time_positions) == (24, 64, 20)


def test_crops_of_pretraining_fit_the_positions(sounds, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*PRETRAIN, "--data", str(sounds), "--output", str(tmp_path), "--max-length-s", "11"])
    assert "`max_length_s` must be at most 10.08 s" in " ".join(capsys.readouterr().err.split())


def test_recipes_of_pretraining_have_the_numbers_of_the_paper():
    family = next(one for one in families() if one.name == DashengConfig.model_type)
    for name, size in (("dasheng_base", "base"), ("dasheng_06b", "0.6B"), ("dasheng_12b", "1.2B")):
        settings = parse_settings(["--recipe", name, "--output", "unused", "--bf16", "false"], "pretrain", "")
        config = DashengConfig(**settings.options.config_values(fresh=True))
        named = DashengConfig.named(size)
        assert {**config.to_dict(), "mask_ratio": 0.75} == named.to_dict()
        training = settings.training
        assert training.max_steps == 100 * 15_000 and training.warmup_steps == 3 * 15_000
        assert training.learning_rate == (2e-4 if size == "1.2B" else 3e-4)
        assert training.weight_decay == (0 if size == "1.2B" else 0.01)
        assert training.lr_scheduler_kwargs == {"min_lr_rate": 0.1} and settings.family is family
        assert training.average_best_checkpoints == 4
