"""The package as people install it: a wheel, and the wheel in another folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, because building writes into the tree, and several test processes may build at once.
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "runs", "__pycache__")
    source = shutil.copytree(ROOT, folder / "source", ignore=ignored)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        source,
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    (built,) = folder.glob("audioformer-*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_one_top_level_package_with_all_its_data(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"audioformer"}
    for needed in [
        "audioformer/py.typed",
        "audioformer/modeling_audioformer/modeling_audioformer.py",
        "audioformer/feature_extraction/feature_extraction_audioformer.py",
        "audioformer/data/readers/esc50.py",
        "audioformer/model_cards/audioformer-tiny-codec/model.safetensors",
        "audioformer/model_cards/audioformer-tiny-esc10/codec/model.safetensors",
        "audioformer/model_cards/audioformer-tiny-esc10/README.md",
    ]:
        assert needed in names
    sources = {path.name for path in ROOT.glob("training/*.py")}
    assert sources == {
        name.split("/")[2] for name in names if name.startswith("audioformer/training/") and name.count("/") == 2
    }


@pytest.mark.slow
def test_the_wheel_works_from_another_folder(wheel, tmp_path):
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", target, wheel]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    code = (
        "import audioformer, numpy, soundfile, sys\n"
        "assert audioformer.__file__.startswith(sys.argv[1]), audioformer.__file__\n"
        "soundfile.write('tone.wav', numpy.sin(numpy.arange(24000) * 0.05), 24000)\n"
        "from audioformer.cli import main\n"
        "sys.exit(main(['classify', 'tone.wav']))\n"
    )
    # The editable install of the checkout is found through a hook in site-packages; PYTHONPATH comes before it.
    environment = {**os.environ, "PYTHONPATH": str(target)}
    result = subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("tone.wav")


def test_an_editable_install_serves_the_checkout():
    import audioformer.experiments.demo

    installed = Path(audioformer.experiments.demo.__file__)
    if "site-packages" in installed.parts:
        pytest.skip("installed from a wheel, not as an editable install")
    assert installed == ROOT / "audioformer" / "experiments" / "demo.py"


def test_no_folder_that_travels_imports_what_it_must_not(tmp_path):
    """Files that `save_pretrained` copies import their siblings, torch, transformers and numpy; soxr is guarded."""
    import ast

    from audioformer import AudioFormerFeatureExtractor, AudioFormerForAudioClassification
    from audioformer.model_cards import TINY_ESC10

    AudioFormerForAudioClassification.from_pretrained(TINY_ESC10).save_pretrained(tmp_path)
    AudioFormerFeatureExtractor.from_pretrained(TINY_ESC10).save_pretrained(tmp_path)
    allowed = {"torch", "transformers", "numpy", "huggingface_hub", *sys.stdlib_module_names}
    saved = sorted(tmp_path.glob("*.py"))
    assert len(saved) > 10
    for path in saved:
        for node in ast.parse(path.read_text()).body:  # top level only: guarded imports sit inside `try`
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1 or node.module.split(".")[0] in allowed, f"{path.name}: {node.module}"
            if isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] in allowed for alias in node.names), path.name


def test_layers_import_downwards_only():
    import ast

    layers = {
        "feature_extraction": {"feature_extraction"},
        "modeling_audioformer": {"modeling_audioformer"},
        "training": {"feature_extraction", "modeling_audioformer", "training", "model_cards"},
        "model_cards": {"model_cards"},
    }
    for folder, allowed in layers.items():
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("audioformer."):
                    assert node.module.split(".")[1] in allowed, f"{path}: {node.module}"
