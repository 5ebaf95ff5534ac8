"""MaskSpec through the commands: a file in the authors' format is converted; its folder goes through all of them."""

import argparse
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModel, pipeline

from audioformer import (
    MaskSpecConfig,
    MaskSpecFeatureExtractor,
    MaskSpecForAudioClassification,
    MaskSpecForPreTraining,
    MaskSpecModel,
)
from audioformer.app.sound_classifier import SoundClassifier
from audioformer.cli import main
from audioformer.commands.arguments import parse_settings
from audioformer.data.audio import load_audio
from audioformer.modeling_maskspec.convert_maskspec import convert_maskspec_checkpoint, label_settings, read_settings
from audioformer.modeling_maskspec.modeling_maskspec import sine_positions
from audioformer.training.families import families
from audioformer.training.pretraining.maskspec import to_image
from audioformer.training.recipes import available_recipes, load_recipe
from tests.modeling_maskspec.common import converted_fixture, read_fixture
from tests.requirements import import_or_skip

from ..hub.client import ask_client
from ..hub.conftest import server  # noqa: F401  (a fixture)
from ..hub.server import TOKEN

LABELS = {"/m/hum": "hum", "/m/hiss": "hiss", "/m/a": "A", "/m/b": "B", "/m/c": "C"}
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


def official_file(path: Path, name: str, **changes) -> Path:
    """A checkpoint as the authors' training writes it, with the weights of a fixture."""
    weights, _, _ = read_fixture(name)
    args = argparse.Namespace(model="vit_tiny", drop_path=0.1, mask_ratio=0.8, norm_pix_loss=False)
    torch.save({"model": weights, "optimizer": {}, "epoch": 3, "scaler": {}, "args": args, **changes}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return official_file(tmp_path_factory.mktemp("official") / "AudioSet_Finetuned.pth", "classifier")


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Path:
    table = tmp_path_factory.mktemp("names") / "class_labels_indices.csv"
    rows = [f'{index},{mid},"{name}"' for index, (mid, name) in enumerate(LABELS.items())]
    table.write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    return table


@pytest.fixture(scope="module")
def converted(checkpoint, names, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "maskspec"
    assert main(["convert", "maskspec", str(checkpoint), "--output", str(folder), "--labels", str(names)]) == 0
    return folder


def test_convert_keeps_weights_and_takes_the_labels_of_the_table(converted, checkpoint):
    config = MaskSpecConfig.from_pretrained(converted)
    assert list(config.id2label.values()) == list(LABELS.values())
    assert config.label_ids == {name: mid for mid, name in LABELS.items()}
    assert (config.num_time_positions, config.pooling, config.final_layer_norm) == (62, "mean", False)
    assert type(AutoModel.from_pretrained(converted)) is MaskSpecModel
    assert type(AutoFeatureExtractor.from_pretrained(converted)) is MaskSpecFeatureExtractor
    weights = load_file(converted / "model.safetensors")
    with torch.serialization.safe_globals([argparse.Namespace]):
        source = torch.load(checkpoint, weights_only=True)["model"]
    assert torch.equal(weights["classifier.weight"], source["head.weight"])
    assert torch.equal(weights["maskspec.embeddings.positions"], source["pos_embed"][0])
    assert sum(value.numel() for value in weights.values()) == sum(value.numel() for value in source.values())


def test_convert_prints_the_sum_of_the_file_and_what_it_wrote(checkpoint, tmp_path, capsys):
    assert main(["convert", "maskspec", str(checkpoint), "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in shown
    assert "MaskSpecForAudioClassification" in shown and "5 labels: LABEL_0" in shown
    assert main(["convert", "maskspec", str(checkpoint), "--output", str(tmp_path / "out")]) == 1
    assert "must be a new or empty folder" in capsys.readouterr().err


def test_convert_knows_a_pretrained_file(tmp_path, capsys):
    file = official_file(tmp_path / "checkpoint-60.pth", "pretraining")
    assert main(["convert", "maskspec", str(file), "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "MaskSpecForPreTraining" in shown and "1 is assumed" in shown and "`args`" in shown
    loaded, info = MaskSpecForPreTraining.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (loaded.config.mask_ratio, loaded.config.standardize_target) == (0.8, False)
    settings = json.loads((tmp_path / "out" / "config.json").read_text())
    assert settings["architectures"] == ["MaskSpecForPreTraining"]
    # The encoder alone is a file as well.
    weights = {name: value for name, value in read_fixture("pretraining")[0].items() if "decoder" not in name}
    del weights["mask_token"]
    converted = convert_maskspec_checkpoint({"model": weights})
    assert type(converted.model) is MaskSpecModel and converted.model.layer_norm is not None


def test_a_classifier_of_audioset_has_several_labels_per_clip_and_twelve_heads():
    settings, notes = label_settings(527)
    assert settings["problem_type"] == "multi_label_classification" and len(notes) == 1
    shapes = {"cls_token": (1, 1, 768), "pos_embed": (1, 497, 768), "patch_embed.proj.weight": (768, 1, 16, 16)}
    shapes |= {"blocks.0.mlp.fc1.weight": (3072, 768), "head.weight": (527, 768), "fc_norm.weight": (768,)}
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    for args in ({"model": "vit_base_patch16"}, {}):
        found, _ = read_settings(weights, args)
        assert (found["num_attention_heads"], found["num_time_positions"], found["pooling"]) == (12, 62, "mean")


class Anything:
    """A class that no converter allows."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"args": Anything()}, r"objects of .*\.Anything; allowed besides tensors .*argparse\.Namespace"),
        ({"model": [1]}, "must hold a dict with 'model', the weights by name"),
        ({"cfg": {}}, "holds cfg besides model, optimizer, epoch, scaler, args"),
        ({"model": {"layers.0.weight": torch.zeros(1)}}, "has no cls_token, pos_embed"),
        ({"args": argparse.Namespace(n_mels=100)}, "do not divide 100 mel bins"),
        ({"model": None}, "must hold a dict with 'model'"),
    ],
)
def test_convert_names_what_is_wrong(changes, message, tmp_path, capsys):
    file = official_file(tmp_path / "file.pth", "classifier", **changes)
    assert main(["convert", "maskspec", str(file), "--output", str(tmp_path / "out")]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_convert_refuses_weights_that_do_not_fit():
    weights, _, _ = read_fixture("pretraining")
    changed = {**weights, "decoder_pos_embed": weights["decoder_pos_embed"] + 0.1}
    with pytest.raises(ValueError, match="`decoder_pos_embed` of the file is not the table"):
        convert_maskspec_checkpoint({"model": changed})
    del weights["blocks.1.norm1.bias"]
    with pytest.raises(ValueError, match=r"1 differ: maskspec\.layers\.1\.attention_layer_norm\.bias"):
        convert_maskspec_checkpoint({"model": weights})
    with pytest.raises(ValueError, match="no classifier, so no labels"):
        convert_maskspec_checkpoint({"model": weights}, {"/m/a": "A"})
    classifier, _, _ = read_fixture("classifier")
    with pytest.raises(ValueError, match="The classifier has 5 labels, `--labels` has 1"):
        convert_maskspec_checkpoint({"model": classifier}, {"/m/a": "A"})
    with pytest.raises(ValueError, match="Two labels of the classifier have the same name"):
        convert_maskspec_checkpoint({"model": classifier}, {str(index): "A" for index in range(5)})


def test_convert_knows_the_kinds_of_all_families(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["convert", "unknown", "file.pt", "--output", str(tmp_path)])
    assert "maskspec" in capsys.readouterr().err
    assert main(["convert", "encodec", str(tmp_path / "no.th"), "--output", str(tmp_path / "out")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_classify_pipeline_and_the_page(converted, sounds, capsys):
    file = next((sounds / "test" / "hum").glob("*.wav"))
    assert main(["classify", "--model", str(converted), "--json", str(file)]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores.keys() == set(LABELS.values())
    classifier = pipeline("audio-classification", model=str(converted))
    assert type(classifier.model) is MaskSpecForAudioClassification
    by_pipeline = {entry["label"]: entry["score"] for entry in classifier(load_audio(file, 32000)[0], top_k=None)}
    assert scores == pytest.approx(by_pipeline, abs=1e-5)
    shown = SoundClassifier(str(converted))(file)
    assert shown.heard.view.values.shape == (128, 50) and "spectrogram" in shown.heard.view.title


@pytest.fixture(scope="module")
def finetuned(converted, sounds, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "finetuned"
    command = ["finetune", "--recipe", "tiny_maskspec_finetune", "--model", str(converted), "--new-head"]
    flags = ["--data", str(sounds), "--output", str(output), "--num-train-epochs", "2", *CPU]
    flags += ["--per-device-train-batch-size", "2", "--warmup-steps", "0"]
    assert main([*command, *flags, "--layer-wise-lr-decay", "0.8", "--lowpass-hz", "7900", "--patchout", "5"]) == 0
    return output


def test_finetune_continues_from_the_converted_folder(finetuned, converted):
    results = json.loads((finetuned / "eval_results.json").read_text())
    assert results["num_clips"] == 12 and results["settings"]["family"] == MaskSpecConfig.model_type
    config = MaskSpecConfig.from_pretrained(finetuned)
    assert sorted(config.id2label.values()) == ["hiss", "hum"] and config.hidden_size == 32
    assert MaskSpecFeatureExtractor.from_pretrained(finetuned).lowpass_hz == 7900 and config.patchout == 5
    before, after = (load_file(folder / "model.safetensors") for folder in (converted, finetuned))
    name = "maskspec.layers.1.mlp.up_proj.weight"
    assert 0 < (before[name] - after[name]).abs().max() < 0.1
    card = (finetuned / "README.md").read_text()
    assert "MaskSpec" in card and "log-mel spectrograms of 128 bins at 32000 Hz" in card and "up to 7900 Hz" in card


def test_evaluate_gives_the_same_metric(finetuned, sounds, tmp_path):
    command = ["evaluate", "--model", str(finetuned), "--data", str(sounds), "--output", str(tmp_path / "e")]
    assert main([*command, "--use-cpu"]) == 0
    again, first = (json.loads((path / "eval_results.json").read_text()) for path in (tmp_path / "e", finetuned))
    assert again["accuracy"] == first["accuracy"]


def test_finetune_from_scratch_learns(sounds, tmp_path):
    output = tmp_path / "scratch"
    command = ["finetune", "--recipe", "tiny_maskspec_finetune", "--data", str(sounds), "--output", str(output), *CPU]
    sizes = ["--hidden-size", "32", "--num-attention-heads", "2", "--intermediate-size", "32", "--num-hidden-layers"]
    assert main([*command, *sizes, "1", "--num-train-epochs", "16", "--load-best-model-at-end", "false"]) == 0
    results = json.loads((output / "eval_results.json").read_text())
    assert results["accuracy"] >= 0.9
    config = MaskSpecConfig.from_pretrained(output)
    assert (config.hidden_size, config.num_hidden_layers, config.hidden_dropout_prob) == (32, 1, 0.1)


def test_finetune_from_a_pretrained_file(sounds, tmp_path):
    file = official_file(tmp_path / "checkpoint-60.pth", "pretraining")
    pretrained, output = tmp_path / "pretrained", tmp_path / "run"
    assert main(["convert", "maskspec", str(file), "--output", str(pretrained)]) == 0
    command = ["finetune", "--recipe", "tiny_maskspec_finetune", "--model", str(pretrained), "--data", str(sounds)]
    flags = ["--output", str(output), "--max-steps", "2", "--warmup-steps", "0", "--pooling", "cls", *CPU]
    assert main([*command, *flags, "--max-length-s", "0.9"]) == 0
    classifier = MaskSpecForAudioClassification.from_pretrained(output)
    assert classifier.config.pooling == "cls" and classifier.maskspec.layer_norm is not None
    before = load_file(pretrained / "model.safetensors")["maskspec.embeddings.positions"]
    assert 0 < (classifier.maskspec.embeddings.positions - before).abs().max() < 0.1


PRETRAIN = ["pretrain", "--recipe", "tiny_maskspec", "--held-out-share", "0.3", *CPU]
TINY = ["--hidden-size", "24", "--num-attention-heads", "2", "--intermediate-size", "32", "--num-hidden-layers", "1"]
TINY += ["--decoder-hidden-size", "16", "--decoder-num-attention-heads", "2", "--decoder-num-hidden-layers", "1"]


def test_pretraining_learns_more_than_the_mean_of_a_patch(sounds, tmp_path):
    output = tmp_path / "pretrained"
    flags = ["--data", str(sounds), "--output", str(output), "--num-train-epochs", "30", "--warmup-steps", "0"]
    flags += ["--eval-strategy", "steps", "--eval-steps", "45", "--save-strategy", "steps", "--save-steps", "45"]
    assert main([*PRETRAIN, *TINY, *flags, "--per-device-train-batch-size", "4", "--learning-rate", "3e-3"]) == 0
    results = json.loads((output / "pretrain_results.json").read_text())
    assert results["held_out_loss"] < 0.97 and results["held_out_clips"] + results["train_clips"] == 12
    model = MaskSpecForPreTraining.from_pretrained(output)
    assert results["num_parameters"] == model.num_parameters() and results["standardized_target"]
    table = sine_positions(62, 8, 24)
    assert torch.equal(model.maskspec.embeddings.positions.data, table)  # fixed in pre-training
    assert (output / "training" / "reconstruction.png").stat().st_size > 10_000
    card = (output / "README.md").read_text()
    assert "masked autoencoding" in card and f"{results['held_out_loss']:.4f}" in card
    # The folder is fine-tuned as it is.
    classifier = tmp_path / "classifier"
    command = ["finetune", "--recipe", "tiny_maskspec_finetune", "--model", str(output), "--data", str(sounds)]
    assert main([*command, "--output", str(classifier), "--max-steps", "2", "--warmup-steps", "0", *CPU]) == 0
    assert not [name for name in load_file(classifier / "model.safetensors") if name.startswith("decoder")]


def test_patches_are_put_together_again():
    model = converted_fixture("pretraining")[0]
    features = torch.randn(1, 99, 128)
    patches = model.maskspec.embeddings.patches(features)[0]
    torch.testing.assert_close(to_image(patches, model.config), features[0, :96].T)


def test_clips_of_pretraining_must_have_positions(sounds, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*PRETRAIN, "--data", str(sounds), "--output", str(tmp_path / "p"), "--max-length-s", "11"])
    assert "must be at most 10 s to pre-train MaskSpec" in " ".join(capsys.readouterr().err.split())


def test_export_writes_classifier_and_filterbank(converted, tmp_path, capsys):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        import_or_skip(name, "ONNX is not installed: it comes with the extra `onnx`")
    assert main(["export", "--onnx", "--model", str(converted), "--output", str(tmp_path / "onnx")]) == 0
    shown = capsys.readouterr().out
    assert "logits within" in shown and "spectrograms of noise within" in shown
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == {"model.onnx", "filterbank.onnx"}
    import onnxruntime

    sessions = {
        name: onnxruntime.InferenceSession(tmp_path / "onnx" / f"{name}.onnx") for name in ("filterbank", "model")
    }
    waveform = (0.1 * np.random.default_rng(0).standard_normal((2, 34567))).astype(np.float32)
    (features,) = sessions["filterbank"].run(None, {"waveform": waveform})
    mask = np.ones((2, features.shape[1] // 16 * 8), np.int64)
    (logits,) = sessions["model"].run(None, {"input_features": features, "attention_mask": mask})
    inputs = MaskSpecFeatureExtractor()(list(waveform), sampling_rate=32000, return_tensors="pt")
    with torch.no_grad():
        expected = MaskSpecForAudioClassification.from_pretrained(converted)(**inputs).logits.numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-3)


PUSH_AND_LOAD = """
import json
import sys
from audioformer.cli import main
from transformers import pipeline

assert main(["push", sys.argv[1], "tester/maskspec", "--license", "mit"]) == 0
classifier = pipeline("audio-classification", model="tester/maskspec")
print(json.dumps([type(classifier.model).__name__, sorted(classifier.model.config.id2label.values())]))
"""


def test_the_pushed_folder_says_where_its_weights_come_from(converted, checkpoint, server, tmp_path):  # noqa: F811
    folder = shutil.copytree(converted, tmp_path / "maskspec")
    loaded = ask_client(PUSH_AND_LOAD, str(folder), server=server, home=tmp_path / "home", token=TOKEN)
    assert loaded == ["MaskSpecForAudioClassification", sorted(LABELS.values())]
    card = (folder / "README.md").read_text()
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in card and "license: mit" in card
    assert checkpoint.name in card and "did not make it" not in card and str(checkpoint.parent) not in card


def test_recipes_load_and_name_the_family():
    family = next(one for one in families() if one.name == MaskSpecConfig.model_type)
    folders = {family.name: family.recipes}
    tasks = {"audioset", "esc50", "scv2", "openmic18", "dcase18", "dcase19"}
    tasks |= {"paper_audioset", "paper_esc50", "paper_scv2", "paper_openmic18", "paper_dcase19"}
    assert {f"maskspec_{task}" for task in tasks} < set(available_recipes(folders))
    pretraining = {"maskspec_base", "maskspec_small", "maskspec_tiny", "maskspec_paper_base", "tiny_maskspec"}
    assert pretraining < set(available_recipes(folders))
    for name in available_recipes(folders):
        assert load_recipe(name, folders).family == family.name
        command = "pretrain" if name in pretraining else "finetune"
        settings = parse_settings(["--recipe", name, "--bf16", "false", "--output", "unused"], command, "")
        assert settings.family is family and settings.training.weight_decay == 0.05
        assert settings.training.adam_beta2 == (0.95 if name in pretraining else 0.999)
        assert (family.recipes / f"{name}.yaml").read_text().startswith("# ")
    table = load_recipe("maskspec_esc50", folders).values
    assert (table["layer_wise_lr_decay"], table["patchout"], table["num_train_epochs"]) == (0.75, 100, 80)
    changes = ("gain_db", "roll_samples", "mel_jitter", "mask_frames", "mask_bins", "mixup_alpha", "mixup_probability")
    assert [table[name] for name in changes] == [[-7, 6], 50, [9, 1000], 192, 48, 2, 0.5]
    instruments = load_recipe("maskspec_openmic18", folders).values
    assert [instruments[name] for name in ("classification_loss", "patchout", "mixup_alpha")] == ["bce", 200, 0]
    spectrograms = {name: load_recipe(f"maskspec_{name}", folders).values for name in ("dcase19", "paper_esc50")}
    assert spectrograms["dcase19"]["spectrogram_mixup_alpha"] == 0.2
    paper = spectrograms["paper_esc50"]
    assert (paper["mask_frames"], paper["gain_db"], paper["roll_samples"], paper["mixup_alpha"]) == (0, None, 50, 2)


def test_no_command_names_the_family():
    folder = Path(__file__).parents[2] / "audioformer"
    files = [*folder.glob("commands/*.py"), *folder.glob("app/*.py"), folder / "cli.py", folder / "classify.py"]
    assert len(files) > 15
    assert not [file.name for file in files if "maskspec" in file.read_text(encoding="utf-8").lower()]
