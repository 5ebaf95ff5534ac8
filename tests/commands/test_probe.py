"""`audioformer probe` from the first to the last file, with tiny models of two families on sounds made here."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import accuracy_score, average_precision_score
from transformers import AutoFeatureExtractor, AutoModel

from audioformer import (
    AudioFormerConfig,
    AudioFormerFeatureExtractor,
    AudioFormerForMaskedLM,
    DashengConfig,
    DashengFeatureExtractor,
    DashengForAudioClassification,
    DashengForPreTraining,
    DashengModel,
)
from audioformer.cli import main
from audioformer.data.audio import load_audio
from audioformer.model_cards import TINY_CODEC
from audioformer.training import ProbeArguments, create_probe_run, probe
from audioformer.training.probing import run as probing
from audioformer.training.probing import vectors

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
SMALL = ["--k", "3", "--mlp-hidden-size", "8", "--mlp-epochs", "4", "--seeds", "0", "1", "--use-cpu"]
KINDS = ("low", "high", "noise")
NUM_CLIPS = 27


def sound(kind: str, rng: np.random.Generator, seconds: float = 0.4) -> np.ndarray:
    time = np.arange(round(8000 * seconds)) / 8000
    pitch = {"low": 300, "high": 2500}.get(kind)
    noise = rng.standard_normal(len(time))
    return 0.2 * (noise if pitch is None else np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time) + 0.01 * noise)


def write_sounds(folder: Path) -> Path:
    """A manifest of clips with folds and groups, one clip in three with two labels in `several.csv`."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for index in range(NUM_CLIPS):
        kind, fold = KINDS[index % 3], 1 + index // 3 % 3
        seconds = 1.1 if index == 4 else rng.uniform(0.35, 0.5)
        soundfile.write(folder / f"{index}.wav", sound(kind, rng, seconds), 8000, subtype="FLOAT")
        rows.append((f"{index}.wav", kind, fold, f"take{fold}-{index % 4}"))
    for name, labels_of in (("one", lambda kind: kind), ("several", lambda k: k if k == "low" else f"{k};bright")):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "labels", "fold", "group"])
            writer.writerows((path, labels_of(kind), *rest) for path, kind, *rest in rows)
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("probe") / "sounds")


@pytest.fixture(scope="module")
def dasheng(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "dasheng"
    torch.manual_seed(0)
    DashengModel(DashengConfig(**SIZES)).save_pretrained(folder)
    DashengFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def codes_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "codes"
    torch.manual_seed(1)
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC))
    AudioFormerForMaskedLM(AudioFormerConfig(**SIZES, **extractor.model_config())).save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture
def common(sounds, tmp_path) -> list[str]:
    places = ["--output", str(tmp_path / "out"), "--vectors-dir", str(tmp_path / "vectors")]
    return ["--data", str(sounds / "one.csv"), *places, *SMALL]


def read(folder: Path) -> dict:
    return json.loads((folder / "probe.json").read_text())


def kept_vectors(folder: Path) -> np.ndarray:
    (file,) = folder.glob("vectors-*.npy")
    return np.load(file)


@pytest.fixture
def forwarded(monkeypatch) -> list[int]:
    """Number of clips of each forward pass of Dasheng."""
    sizes, forward = [], DashengModel.forward

    def counted(self, input_features, *args, **kwargs):
        sizes.append(len(input_features))
        return forward(self, input_features, *args, **kwargs)

    monkeypatch.setattr(DashengModel, "forward", counted)
    return sizes


def test_models_of_two_families_are_rows_of_one_table(dasheng, codes_model, sounds, common, tmp_path, capsys):
    command = ["probe", "--model", str(dasheng), str(codes_model), "--cache-dir", str(tmp_path / "codes")]
    assert main([*command, *common, "--probes", "knn", "mlp", "linear"]) == 0
    results, printed = read(tmp_path / "out"), capsys.readouterr().out
    assert printed.count("Data: ") == 1 and "27 clips of 3 folds" in printed
    rows = {(row["model"], row["probe"]): row for row in results["rows"]}
    assert list(rows) == [(model, kind) for kind in ("knn", "mlp", "linear") for model in ("dasheng", "codes")]
    assert {row["model"]: row["family"] for row in results["rows"]}["codes"] == "audioformer"
    assert [entry["seed"] for entry in rows["codes", "mlp"]["by_seed"]] == [0, 1]
    page = (tmp_path / "out" / "probe.md").read_text()
    for (model, kind), row in rows.items():
        assert f"| {model} |" in printed and f"| {row['accuracy']:.1%} |" in printed and f"| {model} |" in page
        files = sorted((tmp_path / "out" / "predictions" / model).glob(f"{kind}*.npz"))
        accuracies = []
        for file in files:
            with np.load(file) as saved:
                assert sorted(saved["ids"]) == sorted(f"{n}.wav" for n in range(NUM_CLIPS))
                assert saved["labels"].tolist() == sorted(KINDS) and set(saved["parts"]) == set(row["by_part"])
                accuracies.append(accuracy_score(saved["targets"], saved["scores"].argmax(axis=1)))
        assert accuracies == pytest.approx([entry["accuracy"] for entry in row["by_seed"]])
        assert row["accuracy"] == pytest.approx(np.mean(accuracies))
        other = rows["dasheng", kind]["accuracy"]
        assert row["difference"] is None if model == "dasheng" else row["difference"] == row["accuracy"] - other
    # Tones and noise differ in any features.
    assert rows["dasheng", "linear"]["accuracy"] > 0.9
    assert results["settings"]["k"] == 3 and str(tmp_path) not in json.dumps(results["settings"])


@pytest.mark.parametrize("name", ["dasheng", "codes_model"])
def test_vectors_are_the_pooled_output_of_each_clip_alone(name, sounds, common, tmp_path, request):
    folder = request.getfixturevalue(name)
    cache = ["--cache-dir", str(tmp_path / "codes")] if name == "codes_model" else []
    assert main(["probe", "--model", str(folder), *cache, *common, "--probes", "knn"]) == 0
    found = kept_vectors(tmp_path / "vectors")
    model, extractor = AutoModel.from_pretrained(folder).eval(), AutoFeatureExtractor.from_pretrained(folder)
    for index in (0, 4, 11):
        waveform, _ = load_audio(sounds / f"{index}.wav", extractor.sampling_rate)
        inputs = extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        with torch.no_grad():
            expected = model(**inputs).pooler_output[0].numpy()
        np.testing.assert_allclose(found[index], expected, atol=2e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_the_windows_of_a_long_clip_are_one_clip(dasheng, common, tmp_path):
    run = create_probe_run([str(dasheng)], data=common[1], output_dir=str(tmp_path / "out"), max_length_s=0.5)
    opened = probing._open(run.models["dasheng"], show_report=False)
    (source,) = opened.vectors(run.models["dasheng"], ProbeArguments(vectors_dir=str(tmp_path / "vectors")))
    windows = kept_vectors(tmp_path / "vectors")
    # 1.1 s are windows from 0, 0.5 and 0.6 s; the last two share 0.4 s.
    assert len(windows) == NUM_CLIPS + 2 and source.names == [f"{n}.wav" for n in range(NUM_CLIPS)]
    expected = (0.5 * windows[4] + 0.3 * windows[5] + 0.3 * windows[6]) / 1.1
    np.testing.assert_allclose(source.vectors[4], expected, atol=1e-6)
    np.testing.assert_array_equal(source.vectors[5], windows[7])


def test_kept_vectors_are_used_until_weights_or_sounds_change(dasheng, sounds, common, forwarded, tmp_path):
    data = shutil.copytree(sounds, tmp_path / "data")
    outputs = iter(range(10))

    def run(model: Path, *flags: str) -> dict:
        output = tmp_path / f"out{next(outputs)}"
        places = ["--data", str(data / "one.csv"), "--output", str(output), *flags]
        assert main(["probe", "--model", str(model), *common, *places]) == 0
        computed, forwarded[:] = sum(forwarded), []
        return {"rows": read(output)["rows"], "computed": computed}

    first = run(dasheng)
    # One clip more tells the width.
    assert first["computed"] == NUM_CLIPS + 1
    again = run(dasheng, "--eval-folds", "2", "--probes", "knn")
    assert again["computed"] == 0 and again["rows"][0]["by_part"].keys() == {"test clips"}
    assert run(dasheng) == {"rows": first["rows"], "computed": 0}
    other = shutil.copytree(dasheng, tmp_path / "other")
    model = DashengModel.from_pretrained(other)
    model.layer_norm.weight.data[0] *= 2
    model.save_pretrained(other)
    assert run(other)["computed"] == NUM_CLIPS + 1
    soundfile.write(data / "3.wav", sound("noise", np.random.default_rng(9)), 8000)
    assert run(dasheng)["computed"] == NUM_CLIPS + 1


def test_a_run_cut_short_goes_on_after_its_blocks_and_probes(dasheng, common, forwarded, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "CLIPS_PER_BLOCK", 8)
    command = ["probe", "--model", str(dasheng), *common, "--per-device-eval-batch-size", "4"]
    forward = vectors._Computation._forward

    def cut_short(self, batch):
        if sum(forwarded) > 18:
            raise KeyboardInterrupt
        return forward(self, batch)

    monkeypatch.setattr(vectors._Computation, "_forward", cut_short)
    assert main(command) == 130
    monkeypatch.setattr(vectors._Computation, "_forward", forward)
    forwarded.clear()
    fit, fitted = probing._Table._fit, []

    def fail_late(self, kind, seed, features):
        fitted.append((kind, seed))
        if len(fitted) == 3:
            raise KeyboardInterrupt
        return fit(self, kind, seed, features)

    monkeypatch.setattr(probing._Table, "_fit", fail_late)
    assert main(command) == 130
    # Of 27 clips, two blocks of eight were finished.
    assert sum(forwarded) == 1 + NUM_CLIPS - 16
    forwarded.clear()
    assert main(command) == 0 and not forwarded
    assert fitted == [("knn", None), ("mlp", 0), ("mlp", 1), ("mlp", 1)]
    assert main(["probe", "--model", str(dasheng), *common, "--output", str(tmp_path / "whole")]) == 0
    assert read(tmp_path / "whole")["rows"] == read(tmp_path / "out")["rows"]


def test_other_settings_of_a_probe_fit_it_anew(dasheng, common, tmp_path):
    command = ["probe", "--model", str(dasheng), *common, "--probes", "knn"]
    scores = []
    for k in ("3", "5"):
        assert main([*command, "--k", k]) == 0
        with np.load(tmp_path / "out" / "predictions" / "dasheng" / "knn.npz") as saved:
            scores.append(saved["scores"])
        (tmp_path / "out" / "probe.json").unlink()
    assert set(np.unique(np.round(scores[0] * 3, 9))) <= {0, 1, 2, 3}
    assert set(np.unique(np.round(scores[1] * 5, 9))) <= {0, 1, 2, 3, 4, 5}


def test_pretrained_models_and_classifiers_have_the_vectors_of_their_encoder(dasheng, common, tmp_path):
    encoder, extractor = DashengModel.from_pretrained(dasheng), DashengFeatureExtractor.from_pretrained(dasheng)
    sizes = {"decoder_hidden_size": 8, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 8}
    heads = {
        "pretrained": DashengForPreTraining(DashengConfig(**SIZES, **sizes, decoder_num_hidden_layers=1)),
        "classifier": DashengForAudioClassification(DashengConfig(**SIZES, num_labels=5)),
    }
    for name, model in heads.items():
        model.base_model.load_state_dict(encoder.state_dict())
        model.save_pretrained(tmp_path / name)
        extractor.save_pretrained(tmp_path / name)
    models = [str(dasheng), *(str(tmp_path / name) for name in heads)]
    assert main(["probe", "--model", *models, *common, "--probes", "knn", "linear"]) == 0
    found = [np.load(file) for file in (tmp_path / "vectors").glob("vectors-*.npy")]
    assert all(np.array_equal(found[0], other) for other in found)
    assert {row["difference"] for row in read(tmp_path / "out")["rows"]} == {None, 0.0}


def test_clips_with_several_labels_are_measured_by_mean_average_precision(dasheng, sounds, common, tmp_path):
    assert main(["probe", "--model", str(dasheng), *common, "--data", str(sounds / "several.csv")]) == 0
    for row in read(tmp_path / "out")["rows"]:
        values = []
        for file in sorted((tmp_path / "out" / "predictions" / "dasheng").glob(f"{row['probe']}*.npz")):
            with np.load(file) as saved:
                pairs = zip(saved["targets"].T, saved["scores"].T, strict=True)
                values.append(np.mean([average_precision_score(*pair) for pair in pairs]))
        assert row["mAP"] == pytest.approx(np.mean(values)) and len(row["by_part"]) == 3


def test_another_source_is_tested_with_the_whole_of_the_data(dasheng, sounds, common, tmp_path):
    other = tmp_path / "other"
    rng = np.random.default_rng(5)
    for index in range(6):
        kind = KINDS[1 + index % 2]
        (other / kind).mkdir(parents=True, exist_ok=True)
        soundfile.write(other / kind / f"{index}.wav", sound(kind, rng), 8000)
    flags = ["--eval-data", str(other), "--probes", "linear"]
    assert main(["probe", "--model", str(dasheng), *common, *flags]) == 0
    results = read(tmp_path / "out")
    assert results["num_clips"] == 6 and results["tested_on"] == "test clips"
    assert results["rows"][0]["accuracy"] > 0.8
    with np.load(tmp_path / "out" / "predictions" / "dasheng" / "linear.npz") as saved:
        assert saved["labels"].tolist() == sorted(KINDS) and set(saved["targets"]) == {0, 2}
    unknown = other / "siren"
    (other / "noise").rename(unknown)
    assert main(["probe", "--model", str(dasheng), *common, *flags, "--output", str(tmp_path / "again")]) == 1


def test_clips_that_one_family_leaves_out_are_left_out_for_all(dasheng, codes_model, sounds, common, tmp_path, capsys):
    data = shutil.copytree(sounds, tmp_path / "data")
    soundfile.write(data / "7.wav", np.zeros(4000), 8000)
    flags = ["--cache-dir", str(tmp_path / "codes"), "--data", str(data / "one.csv"), "--max-rejected-share", "0.1"]
    assert main(["probe", "--model", str(dasheng), str(codes_model), *common, *flags, "--probes", "knn"]) == 0
    assert read(tmp_path / "out")["num_clips"] == NUM_CLIPS - 1
    assert "1 clip is left out that not all models could read" in capsys.readouterr().out
    for model in ("dasheng", "codes"):
        with np.load(tmp_path / "out" / "predictions" / model / "knn.npz") as saved:
            assert "7.wav" not in saved["ids"]


def test_functions_do_what_the_command_does(dasheng, common, tmp_path):
    options = ProbeArguments(probes=["knn"], k=3, vectors_dir=str(tmp_path / "vectors"))
    run = create_probe_run([str(dasheng)], options, data=common[1], output_dir=tmp_path / "f", use_cpu=True)
    assert [row.value for row in probe(run).rows] == [row["accuracy"] for row in read(tmp_path / "f")["rows"]]


def test_models_in_folders_of_the_same_name_are_told_apart(dasheng, tmp_path):
    copies = [shutil.copytree(dasheng, tmp_path / name / "model") for name in ("a", "b")]
    run = create_probe_run(copies, data=str(tmp_path), output_dir=str(tmp_path / "out"))
    assert list(run.models) == ["a/model", "b/model"]


WRONG_FLAGS = [
    ([], "`model` must be given: folders or Hub ids"),
    (["--model", "{dasheng}", "{dasheng}"], "`model` must name different models, got '{dasheng}' 2 times"),
    (["--model", "{tmp}/nothing"], "`model` '{tmp}/nothing' does not exist"),
    (["--model", "{dasheng}", "--data", "{tmp}/nothing"], "`data` '{tmp}/nothing' does not exist"),
    (["--model", "{dasheng}", "--k", "0"], "`k` must be at least 1, got 0"),
    (["--model", "{dasheng}", "--seeds", "1", "1"], "`seeds` must be at least one, and different ones, got [1, 1]"),
    (["--model", "{dasheng}", "--probes", "svm"], "must be one of 'knn', 'mlp', 'linear', got 'svm'"),
    (["--model", "{dasheng}", "--mlp-learning-rate", "0"], "`mlp_learning_rate` must be more than 0, got 0"),
    (["--model", "{dasheng}", "--codec", "c"], "--codec is unknown to `audioformer probe` of these models"),
    (["--model", "{dasheng}", "--cross-validate", "--eval-folds", "1"], "it excludes `eval_folds`"),
    (["--model", "{dasheng}", "{codes}", "--model-revision", "v1"], "`model_revision` 'v1' is for one model, got 2"),
]


@pytest.mark.parametrize(("flags", "message"), WRONG_FLAGS)
def test_wrong_flags_are_named_before_anything_is_read(flags, message, dasheng, codes_model, common, tmp_path, capsys):
    names = {"dasheng": dasheng, "codes": codes_model, "tmp": tmp_path}
    with pytest.raises(SystemExit) as stopped:
        main(["probe", *common, *(flag.format(**names) for flag in flags)])
    error = " ".join(capsys.readouterr().err.split())
    assert stopped.value.code == 2 and message.format(**names) in error
    assert not (tmp_path / "out").exists()


def test_what_the_data_do_not_allow_is_named_before_vectors_are_computed(dasheng, sounds, common, tmp_path, capsys):
    command = ["probe", "--model", str(dasheng), *common]
    lonely = tmp_path / "lonely" / "dog"
    lonely.mkdir(parents=True)
    shutil.copy(sounds / "1.wav", lonely)
    for flags, message in [
        (["--k", "19"], "`k` must be at most the 18 clips to learn from, got 19"),
        (["--eval-folds", "9"], "`fold` [9] is not in the data: it has [1, 2, 3]"),
        (["--data", str(tmp_path / "lonely")], "labels of at least two classes, the data have ['dog']"),
    ]:
        assert main([*command, *flags]) == 1
        assert message in capsys.readouterr().err
    assert not list((tmp_path / "vectors").glob("*"))


def test_a_finished_folder_and_half_an_encoder_are_refused(dasheng, common, tmp_path, capsys):
    half = shutil.copytree(dasheng, tmp_path / "half")
    model = DashengModel.from_pretrained(half)
    weights = {name: weight for name, weight in model.state_dict().items() if not name.startswith("layer_norm")}
    model.save_pretrained(half, state_dict=weights)
    assert main(["probe", "--model", str(half), *common]) == 1
    error = capsys.readouterr().err
    assert "must hold every weight of DashengModel, but lacks 2, such as layer_norm.bias" in error
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "probe.json").write_text("{}")
    assert main(["probe", "--model", str(dasheng), *common]) == 1
    assert "`output` holds a finished run" in capsys.readouterr().err


def test_the_help_has_the_flags_of_the_families_of_the_models(dasheng, capsys):
    for models, has_codec in (([], True), (["--model", str(dasheng)], False)):
        with pytest.raises(SystemExit) as stopped:
            main(["probe", *models, "--help"])
        text = capsys.readouterr().out
        assert stopped.value.code == 0 and ("--codec " in text) == has_codec
        assert text.count("--data VALUE") == 1 and "--mlp-hidden-size" in text and "--learning-rate" not in text
