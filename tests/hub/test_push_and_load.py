"""A classifier pushed by id and loaded by id, by the real client over HTTP: each time in a fresh process and cache."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from transformers import EncodecModel

from audioformer import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_ESC10
from audioformer.modeling_audioformer import AudioFormerForAudioClassification

from ..saved_code import CODE
from .client import WITHOUT_THE_PACKAGE, ask_client
from .server import TOKEN, HubServer

# What a repository needs in order to stand on its own.
FILES = set(CODE) | {"config.json", "model.safetensors", "preprocessor_config.json"}
FILES |= {"codec/config.json", "codec/model.safetensors"}

SOUND = """
import json
import sys
import numpy as np
import torch

waveform = (0.1 * np.random.default_rng(0).standard_normal(12000)).astype(np.float32)

def logits_of(model, extractor):
    with torch.no_grad():
        inputs = extractor(waveform, sampling_rate=24000, return_tensors="pt")
        return model.eval()(**inputs).logits[0].tolist()
"""

PUSH = """
import audioformer
from audioformer.training import AudioFormerClassificationTrainer, AudioFormerTrainingArguments, CodeExamples
from huggingface_hub import HfApi
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, EncodecModel

def load(folder):
    return AutoModelForAudioClassification.from_pretrained(folder), AutoFeatureExtractor.from_pretrained(folder)

report = {}
model, extractor = load(sys.argv[1])
report["logits"] = logits_of(model, extractor)
try:
    model.push_to_hub("tester/by-parts")
except ValueError as error:
    report["unlicensed"] = str(error)
model.push_to_hub("tester/by-parts", license="cc-by-4.0", tags=["sounds"])
# The card that the repository has by now states the licence.
report["first"] = extractor.push_to_hub("tester/by-parts").oid

model.save_pretrained("folder")
extractor.save_pretrained("folder")
for name, private in (("by-folder", False), ("private", True)):
    HfApi().create_repo(f"tester/{name}", private=private)
    HfApi().upload_folder(repo_id=f"tester/{name}", folder_path="folder")

other_model, other_extractor = load(sys.argv[2])
report["other_logits"] = logits_of(other_model, other_extractor)
other_model.push_to_hub("tester/by-parts", commit_message="Other weights")
report["second"] = other_extractor.push_to_hub("tester/by-parts", commit_message="Other codec").oid

codec = EncodecModel.from_pretrained(sys.argv[1], subfolder="codec").push_to_hub("tester/codec").oid
EncodecModel.from_pretrained(sys.argv[2], subfolder="codec").push_to_hub("tester/codec", commit_message="Other codec")
model.push_to_hub("tester/by-reference", license="mit")
model.config.trained_in = "/home/ann/sounds"
try:
    model.push_to_hub("tester/leaking", license="mit")
except ValueError as error:
    report["leaking"] = str(error)
del model.config.trained_in
settings = {"codebooks": extractor.codebooks, "normalize": extractor.normalize}
by_reference = audioformer.AudioFormerFeatureExtractor(codec="tester/codec", codec_revision=codec, **settings)
by_reference.push_to_hub("tester/by-reference")

codes = [np.arange(160).reshape(4, 40) * (clip + 1) for clip in range(4)]
examples = CodeExamples(codes, [0, 1, 2, 3], codebook=[0, 1, 2, 3])
arguments = AudioFormerTrainingArguments(
    "run", max_steps=1, learning_rate=1e-2, use_cpu=True, disable_tqdm=True, hub_model_id="tester/by-trainer"
)
trainer = AudioFormerClassificationTrainer(model, arguments, train_dataset=examples, processing_class=extractor)
trainer.train()
trainer.evaluate(examples)
trainer.push_to_hub(license="apache-2.0")
report["trained_logits"] = logits_of(trainer.model, extractor)
print(json.dumps(report))
"""

LOAD = """
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

def load(repository, **options):
    model = AutoModelForAudioClassification.from_pretrained(repository, **options)
    return model, AutoFeatureExtractor.from_pretrained(repository, **options)
"""

BY_AUTO_CLASSES = """
import audioformer

first, token = sys.argv[1:]
report = {"logits": {}}
try:
    load("tester/private")
except OSError as error:
    report["refusal"] = str(error)
for repository, options in {
    "tester/by-parts": {"revision": first},
    "tester/by-folder": {},
    "tester/by-reference": {},
    "tester/by-trainer": {},
    "tester/private": {"token": token},
}.items():
    report["logits"][repository] = logits_of(*load(repository, **options))
report["logits"]["head"] = logits_of(*load("tester/by-parts"))
print(json.dumps(report))
"""

BY_PIPELINE = """
import audioformer
from transformers import pipeline

report = {}
for name, revision in (("head", None), ("first", sys.argv[1])):
    classifier = pipeline("audio-classification", model="tester/by-parts", revision=revision)
    report[name] = classifier(waveform, top_k=None, function_to_apply="none")
print(json.dumps(report))
"""

BY_REMOTE_CODE = """
from transformers import pipeline

report = {}
model, extractor = load("tester/by-folder", trust_remote_code=True)
report["logits"] = logits_of(model, extractor)
report["modules"] = [type(model).__module__, type(extractor).__module__]
classifier = pipeline("audio-classification", model="tester/by-folder", trust_remote_code=True)
report["pipeline"] = classifier(waveform, top_k=None, function_to_apply="none")
# What was loaded from one repository can be pushed to another, which then needs the first no more.
model.push_to_hub("tester/copy")
extractor.push_to_hub("tester/copy")
report["copy"] = logits_of(*load("tester/copy", trust_remote_code=True))
assert not any(name.split(".")[0] == "audioformer" for name in sys.modules)
print(json.dumps(report))
"""


OFFLINE = """
import os

os.environ["HF_HUB_OFFLINE"] = "1"
"""

AGAIN = """
print(json.dumps([logits_of(*load(name, trust_remote_code=True)) for name in ("tester/by-folder", "tester/copy")]))
"""


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory) -> Path:
    """A classifier with other weights and another codec, whose codes are the neighbours of the first one's."""
    folder = tmp_path_factory.mktemp("other")
    model = AudioFormerForAudioClassification.from_pretrained(TINY_ESC10)
    model.classifier.weight.data.neg_()
    model.save_pretrained(folder)
    codec = EncodecModel.from_pretrained(TINY_ESC10 / "codec")
    codebook = codec.quantizer.layers[0].codebook
    codebook.embed = codebook.embed.roll(1, dims=0)
    extractor = AudioFormerFeatureExtractor.from_pretrained(TINY_ESC10)
    settings = {"codebooks": extractor.codebooks, "normalize": extractor.normalize}
    AudioFormerFeatureExtractor(codec=codec, **settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pushed(server, other_folder, tmp_path_factory) -> dict[str, Any]:
    """All repositories, and what the models that were pushed made of the sound."""
    home = tmp_path_factory.mktemp("push")
    report = ask_client(SOUND + PUSH, str(TINY_ESC10), str(other_folder), server=server, home=home, token=TOKEN)
    # Otherwise nothing could be told from the logits.
    for name in ("other_logits", "trained_logits"):
        assert not np.allclose(report[name], report["logits"], atol=0.01), name
    return report


def same(logits: list[float], expected: list[float]) -> bool:
    return np.allclose(logits, expected, rtol=1e-5, atol=1e-5)


def scores(classes: list[dict[str, Any]]) -> list[float]:
    """Scores of a pipeline in the order of the model's classes."""
    by_label = {entry["label"]: entry["score"] for entry in classes}
    labels = json.loads((TINY_ESC10 / "config.json").read_text())["id2label"]
    return [by_label[labels[str(index)]] for index in range(len(labels))]


TRAINED = {"README.md", "card_facts.json"}


@pytest.mark.parametrize(
    "name, more",
    [("by-parts", {"README.md"}), ("by-folder", set()), ("private", set()), ("by-trainer", TRAINED)],
)
def test_a_repository_holds_all_that_is_needed_and_nothing_else(server: HubServer, pushed, name, more):
    files = server.model(f"tester/{name}").head.files
    assert set(files) == FILES | more | {".gitattributes"}
    assert {path for path, file in files.items() if file.is_large} == {"model.safetensors", "codec/model.safetensors"}
    assert server.model(f"tester/{name}").private is (name == "private")
    if name in ("by-folder", "private"):
        weights = {path: TINY_ESC10 / path for path in ("model.safetensors", "codec/model.safetensors")}
        for path, source in {**CODE, **weights}.items():
            assert files[path].content == source.read_bytes(), path


def test_parts_are_pushed_with_checks_in_one_commit_each(server: HubServer, pushed):
    assert "states no licence" in pushed["unlicensed"]
    assert "config.json contains paths of this machine: /home/ann" in pushed["leaking"]
    assert ("models", "tester/leaking") not in server.repositories
    repository = server.model("tester/by-parts")
    # The first of the Hub, then model, extractor, and both again.
    assert len(repository.commits) == 5
    card = ModelCard(repository.head.files["README.md"].content.decode())
    assert card.data.license == "cc-by-4.0" and "sounds" in card.data.tags
    assert '"tester/by-parts"' in card.text


def test_the_card_of_a_trainer_says_what_happened(server: HubServer, pushed):
    text = server.model("tester/by-trainer").head.files["README.md"].content.decode()
    for fact in (
        "| evaluated on | 4 clips |",
        "| eval loss | ",
        "| steps | 1 with batches of ",
        "| training clips | 4 |",
    ):
        assert fact in text, fact
    assert "CPU" in text and "float32" in text and "mean training loss" in text
    assert "It was not tested" not in text and "Nothing about its training was recorded" not in text


def test_the_storage_of_large_files_is_sent_no_token(server: HubServer, pushed):
    sent = [request for request in server.requests if request.method == "PUT"]
    assert sent and all(request.token is None and request.status == 200 for request in sent)
    # What is there already is not sent again: the same weights went to four repositories.
    assert len(sent) == len({request.path for request in sent})


@pytest.mark.slow
def test_auto_classes_load_by_id_revision_and_token(server, pushed, tmp_path):
    report = ask_client(SOUND + LOAD + BY_AUTO_CLASSES, pushed["first"], TOKEN, server=server, home=tmp_path)
    logits = report["logits"]
    assert same(logits["head"], pushed["other_logits"])
    assert same(logits["tester/by-trainer"], pushed["trained_logits"])
    # The pinned revision holds for the codec, too, and the token reaches it.
    for repository in ("tester/by-parts", "tester/by-folder", "tester/by-reference", "tester/private"):
        assert same(logits[repository], pushed["logits"]), repository
    assert "tester/private" in report["refusal"] and "token" in report["refusal"]


@pytest.mark.slow
def test_pipeline_loads_by_id_and_revision(server, pushed, tmp_path):
    report = ask_client(SOUND + BY_PIPELINE, pushed["first"], server=server, home=tmp_path)
    assert same(scores(report["head"]), pushed["other_logits"])
    assert same(scores(report["first"]), pushed["logits"])


@pytest.mark.slow
def test_remote_code_loads_where_the_package_is_not_installed(server: HubServer, pushed, tmp_path):
    script = WITHOUT_THE_PACKAGE + SOUND + LOAD + BY_REMOTE_CODE
    report = ask_client(script, server=server, home=tmp_path, token=TOKEN)
    assert all(module.startswith("transformers_modules.tester.") for module in report["modules"])
    assert same(report["logits"], pushed["logits"])
    assert same(scores(report["pipeline"]), pushed["logits"])
    assert same(report["copy"], pushed["logits"])
    copy = server.model("tester/copy").head.files
    assert set(copy) == FILES | {"README.md", ".gitattributes"}
    assert "tester/by-folder" not in copy["config.json"].content.decode()

    # What was loaded once, code and codec with it, loads without a connection.
    asked = len(server.requests)
    for logits in ask_client(OFFLINE + WITHOUT_THE_PACKAGE + SOUND + LOAD + AGAIN, server=server, home=tmp_path):
        assert same(logits, pushed["logits"])
    assert len(server.requests) == asked
