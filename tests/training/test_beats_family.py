"""BEATs through the commands: a file in the authors' format is converted, and the folder goes through all of them."""

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

from audioformer import BeatsConfig, BeatsFeatureExtractor, BeatsForAudioClassification, BeatsModel, BeatsTokenizer
from audioformer.app.sound_classifier import SoundClassifier
from audioformer.cli import main
from audioformer.commands.arguments import parse_settings
from audioformer.data.audio import load_audio
from audioformer.modeling_beats.convert_beats import convert_beats_checkpoint, read_beats_checkpoint
from audioformer.training.families import families
from audioformer.training.recipes import available_recipes, load_recipe
from tests.modeling_beats.common import read_fixture
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
    """A checkpoint as the authors release them, with the weights of a fixture."""
    weights, _, settings = read_fixture(name)
    content = {"cfg": settings["cfg"], "model": weights}
    if name == "classifier":
        content["label_dict"] = dict(enumerate(LABELS))
    torch.save({**content, **changes}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return official_file(tmp_path_factory.mktemp("official") / "BEATs_finetuned.pt", "classifier")


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Path:
    table = tmp_path_factory.mktemp("names") / "class_labels_indices.csv"
    rows = [f'{index},{mid},"{name}"' for index, (mid, name) in enumerate(reversed(LABELS.items()))]
    table.write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    return table


@pytest.fixture(scope="module")
def converted(checkpoint, names, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "beats"
    assert main(["convert", "beats", str(checkpoint), "--output", str(folder), "--labels", str(names)]) == 0
    return folder


def test_convert_keeps_weights_labels_and_settings(converted, checkpoint):
    config = BeatsConfig.from_pretrained(converted)
    assert list(config.id2label.values()) == list(LABELS.values())  # in the order of the file, not of the table
    assert config.label_ids == {name: mid for mid, name in LABELS.items()}
    assert config.problem_type == "multi_label_classification"
    assert (config.num_attention_heads, config.max_distance, config.deep_norm) == (8, 800, True)
    assert type(AutoModel.from_pretrained(converted)) is BeatsModel
    assert type(AutoFeatureExtractor.from_pretrained(converted)) is BeatsFeatureExtractor
    weights = load_file(converted / "model.safetensors")
    source = torch.load(checkpoint, weights_only=True)["model"]
    assert torch.equal(weights["classifier.weight"], source["predictor.weight"])
    assert sum(value.numel() for value in weights.values()) < sum(value.numel() for value in source.values())


def test_convert_prints_the_sum_of_the_file_and_what_it_wrote(checkpoint, tmp_path, capsys):
    assert main(["convert", "beats", str(checkpoint), "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in shown
    assert "BeatsForAudioClassification" in shown and "5 labels: /m/hum, /m/hiss" in shown
    assert main(["convert", "beats", str(checkpoint), "--output", str(tmp_path / "out")]) == 1
    assert "must be a new or empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "model_class"), [("encoder_8_heads", BeatsModel), ("tokenizer", BeatsTokenizer)])
def test_convert_knows_what_a_file_holds(name, model_class, tmp_path, capsys):
    file = official_file(tmp_path / "file.pt", name)
    assert main(["convert", "beats", str(file), "--output", str(tmp_path / "out")]) == 0
    assert model_class.__name__ in capsys.readouterr().out
    loaded, info = model_class.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [model_class.__name__]


class Anything:
    """A class that no converter allows."""


def changed_cfg(**changes):
    settings = {**read_fixture("classifier")[2]["cfg"], **changes}
    return {name: value for name, value in settings.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cfg": Anything()}, r"objects of .*\.Anything; allowed besides tensors .*argparse\.Namespace"),
        ({"optimizer": {}}, "holds optimizer besides cfg, model, label_dict"),
        ({"cfg": changed_cfg(deep_norm=None)}, "must state deep_norm"),
        ({"cfg": changed_cfg(layer_norm_first=True)}, "`layer_norm_first` of the file is True"),
        ({"cfg": changed_cfg(activation_fn="glu")}, "`activation_fn` of the file must be one of"),
        ({"cfg": changed_cfg(encoder_layers=3)}, "The weights of the file do not fit its settings"),
        ({"cfg": changed_cfg(conv_pos=8)}, "1 differ: beats.embeddings.position_conv.direction|2 differ"),
        ({"label_dict": {0: "/m/hum"}}, "must number its labels from 0 to 4, got 1 labels"),
        ({"label_dict": dict.fromkeys(range(5), "/m/hum")}, "Two labels of the classifier have the same name"),
    ],
)
def test_convert_names_what_is_wrong(changes, message, tmp_path, capsys):
    file = official_file(tmp_path / "file.pt", "classifier", **changes)
    assert main(["convert", "beats", str(file), "--output", str(tmp_path / "out")]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_convert_refuses_layers_that_differ_in_their_bias(tmp_path):
    weights, _, settings = read_fixture("classifier")
    weights["encoder.layers.1.self_attn.relative_attention_bias.weight"] += 1.0
    with pytest.raises(ValueError, match="differs between layers, which must share it"):
        convert_beats_checkpoint({"cfg": settings["cfg"], "model": weights})


def test_convert_refuses_untrained_codes_and_names_without_labels(tmp_path):
    weights, _, settings = read_fixture("tokenizer")
    checkpoint = {"cfg": settings["cfg"], "model": weights}
    with pytest.raises(ValueError, match="no classifier, so no labels"):
        convert_beats_checkpoint(checkpoint, {"/m/a": "A"})
    weights["quantize.embedding.initted"].zero_()
    with pytest.raises(ValueError, match="never trained"):
        convert_beats_checkpoint(checkpoint)


def test_convert_says_what_it_does_not_keep(tmp_path):
    weights, _, settings = read_fixture("classifier")
    cfg = argparse.Namespace(**settings["cfg"] | {"layer_wise_gradient_decay_ratio": 0.6, "data_path": "/somewhere"})
    file = tmp_path / "file.pt"
    torch.save({"cfg": cfg, "model": weights}, file)
    converted = convert_beats_checkpoint(read_beats_checkpoint(file))
    assert converted.model.config.layer_gradient_scale == 1.0
    assert "`layer_wise_gradient_decay_ratio` 0.6" in converted.notes[0] and "data_path" in converted.notes[1]


def test_convert_knows_the_kinds_of_all_families(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["convert", "unknown", "file.pt", "--output", str(tmp_path)])
    assert "beats" in capsys.readouterr().err
    assert main(["convert", "encodec", str(tmp_path / "no.th"), "--output", str(tmp_path / "out")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_classify_pipeline_and_the_page(converted, sounds, capsys):
    file = next((sounds / "test" / "hum").glob("*.wav"))
    assert main(["classify", "--model", str(converted), "--json", str(file)]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores.keys() == set(LABELS.values())
    classifier = pipeline("audio-classification", model=str(converted))
    assert type(classifier.model) is BeatsForAudioClassification
    by_pipeline = {entry["label"]: entry["score"] for entry in classifier(load_audio(file, 16000)[0], top_k=None)}
    assert scores == pytest.approx(by_pipeline, abs=1e-5)
    shown = SoundClassifier(str(converted))(file)
    assert shown.heard.view.values.shape == (128, 48) and "spectrogram" in shown.heard.view.title


@pytest.fixture(scope="module")
def finetuned(converted, sounds, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "finetuned"
    command = ["finetune", "--recipe", "tiny_beats_finetune", "--model", str(converted), "--new-head"]
    flags = ["--data", str(sounds), "--output", str(output), "--num-train-epochs", "2", *CPU]
    flags += ["--per-device-train-batch-size", "2", "--warmup-steps", "0"]
    assert main([*command, *flags, "--layer-wise-lr-decay", "0.8", "--mean", "11.5"]) == 0
    return output


def test_finetune_continues_from_the_converted_folder(finetuned, converted):
    results = json.loads((finetuned / "eval_results.json").read_text())
    assert results["num_clips"] == 12 and results["settings"]["family"] == BeatsConfig.model_type
    config = BeatsConfig.from_pretrained(finetuned)
    assert sorted(config.id2label.values()) == ["hiss", "hum"] and config.hidden_size == 32
    assert BeatsFeatureExtractor.from_pretrained(finetuned).mean == 11.5
    before, after = (load_file(folder / "model.safetensors") for folder in (converted, finetuned))
    name = "beats.encoder.layers.1.mlp.up_proj.weight"
    assert 0 < (before[name] - after[name]).abs().max() < 0.1
    card = (finetuned / "README.md").read_text()
    assert "BEATs" in card and "log-mel spectrograms of 128 bins (mean 11.5" in card


def test_evaluate_gives_the_same_metric(finetuned, sounds, tmp_path):
    command = ["evaluate", "--model", str(finetuned), "--data", str(sounds), "--output", str(tmp_path / "e")]
    assert main([*command, "--use-cpu"]) == 0
    again, first = (json.loads((path / "eval_results.json").read_text()) for path in (tmp_path / "e", finetuned))
    assert again["accuracy"] == first["accuracy"]


def test_finetune_from_scratch_learns(sounds, tmp_path):
    output = tmp_path / "scratch"
    command = ["finetune", "--recipe", "tiny_beats_finetune", "--data", str(sounds), "--output", str(output), *CPU]
    sizes = ["--hidden-size", "32", "--num-attention-heads", "2", "--intermediate-size", "32", "--num-hidden-layers"]
    assert main([*command, *sizes, "1", "--num-train-epochs", "8"]) == 0
    results = json.loads((output / "eval_results.json").read_text())
    assert results["accuracy"] >= 0.9
    config = BeatsConfig.from_pretrained(output)
    assert (config.hidden_size, config.num_hidden_layers, config.hidden_dropout_prob) == (32, 1, 0.1)


def test_the_two_kinds_of_layer_wise_decay_exclude_each_other(sounds, tmp_path, capsys):
    flags = ["--layer-wise-lr-decay", "0.5", "--layer-gradient-scale", "0.5", "--output", str(tmp_path)]
    with pytest.raises(SystemExit):
        main(["finetune", "--recipe", "tiny_beats_finetune", "--data", str(sounds), *flags])
    assert "two forms of the same" in " ".join(capsys.readouterr().err.split())


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
    waveform = (0.1 * np.random.default_rng(0).standard_normal((2, 12345))).astype(np.float32)
    (features,) = sessions["filterbank"].run(None, {"waveform": waveform})
    mask = np.ones((2, features.shape[1] // 16 * 8), np.int64)
    (logits,) = sessions["model"].run(None, {"input_features": features, "attention_mask": mask})
    inputs = BeatsFeatureExtractor()(list(waveform), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = BeatsForAudioClassification.from_pretrained(converted)(**inputs).logits.numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)


PUSH_AND_LOAD = """
import json
import sys
from audioformer.cli import main
from transformers import pipeline

assert main(["push", sys.argv[1], "tester/beats", "--license", "mit"]) == 0
classifier = pipeline("audio-classification", model="tester/beats")
print(json.dumps([type(classifier.model).__name__, sorted(classifier.model.config.id2label.values())]))
"""


def test_the_pushed_folder_says_where_its_weights_come_from(converted, checkpoint, server, tmp_path):  # noqa: F811
    folder = shutil.copytree(converted, tmp_path / "beats")
    loaded = ask_client(PUSH_AND_LOAD, str(folder), server=server, home=tmp_path / "home", token=TOKEN)
    assert loaded == ["BeatsForAudioClassification", sorted(LABELS.values())]
    card = (folder / "README.md").read_text()
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in card and "license: mit" in card
    assert checkpoint.name in card and "did not make it" not in card and str(checkpoint.parent) not in card


def test_recipes_load_and_name_the_family():
    family = next(one for one in families() if one.name == BeatsConfig.model_type)
    folders = {family.name: family.recipes}
    assert {"beats_as2m", "beats_as20k", "beats_esc50", "beats_ks1", "beats_ks2"} < set(available_recipes(folders))
    for name in available_recipes(folders):
        recipe = load_recipe(name, folders)
        assert recipe.family == family.name
        command, flags = "pretrain" if "stage" in recipe.values else "finetune", []
        if command == "pretrain":
            # Any file stands for the folder of the stage before, and this machine may lack bfloat16.
            needed = {"stage": "teacher", "labels_from": "tokenizer"}
            flags = [f"--{needed[key]}={__file__}" for key in needed if recipe.values.get(key) == "tokenizer"]
            flags += ["--bf16", "false"]
        settings = parse_settings(["--recipe", name, "--output", "unused", *flags], command, "")
        assert settings.family is family and settings.training.adam_beta2 == 0.98
        assert (family.recipes / f"{name}.yaml").read_text().startswith("# ")
    table = load_recipe("beats_esc50", folders).values
    assert (table["layer_wise_lr_decay"], table["adam_beta2"], table["std"]) == (0.2, 0.98, 10.60431)
    changes = {
        name: tuple(load_recipe(name, folders).values.get(key) for key in ("spec_augment", "mixup_alpha", "roll"))
        for name in ("beats_as2m", "beats_as20k", "beats_esc50", "beats_ks1", "beats_ks2", "beats_iemocap")
    }
    of_audioset, of_commands = (0.3, 0.8, True), (0.3, 0.8, None)
    expected = [of_audioset, of_audioset, (0.2, None, True), of_commands, of_commands, (0.15, None, True)]
    assert list(changes.values()) == expected


def test_no_command_names_the_family():
    folder = Path(__file__).parents[2] / "audioformer"
    files = [*folder.glob("commands/*.py"), *folder.glob("app/*.py"), folder / "cli.py", folder / "classify.py"]
    assert len(files) > 15
    assert not [file.name for file in files if "beats" in file.read_text(encoding="utf-8").lower()]
