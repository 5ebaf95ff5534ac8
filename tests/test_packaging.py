"""The package as people install it: a wheel, and the wheel in another folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
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


# Installed with nothing: a Space is an application of its own.
NOT_PACKAGED = ("model_cards/space/",)


def settings() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def mapped_folders() -> dict[str, str]:
    """Folder of the repository that each package comes from, as setup.cfg says."""
    lines = settings()["options"]["package_dir"].split("\n")
    return dict(line.replace(" ", "").split("=") for line in lines if line)


def packaged_files() -> tuple[set[str], set[str]]:
    """Modules and data files below the mapped top-level folders, relative to the repository.

    Modules are the Python files of folders with an `__init__.py`. All other files are data, Python or not.
    """
    modules, data = set(), set()
    for top in {folder.split("/")[0] for folder in mapped_folders().values()}:
        # Without following links: what they lead to has a folder of its own.
        for folder, folders, files in os.walk(ROOT / top):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for file in files:
                path = (Path(folder) / file).relative_to(ROOT).as_posix()
                is_module = file.endswith(".py") and "__init__.py" in files
                (modules if is_module else data).add(path)
    return modules, {path for path in data if not path.startswith(NOT_PACKAGED)}


def test_setup_lists_every_folder_with_an_init_file():
    mapped = mapped_folders()
    listed = settings()["options"]["packages"].split()
    assert listed == sorted(set(listed)) == list(mapped)
    for package, folder in mapped.items():
        assert package in ("audioformer", f"audioformer.{folder.removeprefix('audioformer/').replace('/', '.')}")
    tops = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."]
    tops = [path for path in tops if path.name not in ("tests", "build", "dist", "runs")]
    on_disk = {path.parent.relative_to(ROOT).as_posix() for top in tops for path in top.rglob("__init__.py")}
    assert set(mapped.values()) == on_disk


def test_the_links_in_the_package_lead_to_exactly_the_mapped_folders():
    links = {path.name: os.readlink(path) for path in (ROOT / "audioformer").iterdir() if path.is_symlink()}
    tops = {folder.split("/")[0] for folder in mapped_folders().values()} - {"audioformer"}
    assert links == {folder: f"../{folder}" for folder in tops}


def test_setup_matches_every_data_file_and_has_no_pattern_without_one():
    mapped = mapped_folders()
    matched = set()
    for package, patterns in settings()["options.package_data"].items():
        for pattern in patterns.split():
            files = {path for path in (ROOT / mapped[package]).glob(pattern) if path.is_file()}
            assert files, f"{package}: {pattern} matches nothing"
            matched |= {path.relative_to(ROOT).as_posix() for path in files}
    assert matched == packaged_files()[1]


def test_the_wheel_holds_exactly_the_modules_and_data_of_the_checkout(wheel):
    package_of_top = {folder: package for package, folder in mapped_folders().items() if "/" not in folder}
    expected = set()
    for path in set.union(*packaged_files()):
        top, _, rest = path.partition("/")
        expected.add(f"{package_of_top[top].replace('.', '/')}/{rest}")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert len({name.split("/")[0] for name in names}) == 2  # the package and its metadata


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
