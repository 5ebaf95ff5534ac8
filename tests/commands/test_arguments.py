"""Recipes and flags: what is merged, what is refused, and how it is said."""

import dataclasses
import re

import pytest
import yaml

from audioformer.commands.arguments import SettingsParser, parse_settings
from audioformer.training.families import Settings, families, recipe_folders
from audioformer.training.recipes import RecipeError, available_recipes
from audioformer.training.recipes import load_recipe as load
from audioformer.training.settings import check_values, fields_of, groups_of

# The recipes of other families are tested with them.
FOLDERS = {"audioformer": recipe_folders()["audioformer"]}
RECIPES = available_recipes(FOLDERS)
COMMAND_OF = {name: "pretrain" if "pretrain" in name else "finetune" for name in RECIPES}
FAMILY = families()[0]
OFF = {
    "mixup_alpha": 0.0,
    "token_mixup_alpha": 0.0,
    "ema_decay": 0.0,
    "label_smoothing_factor": 0.0,
    "layer_wise_lr_decay": None,
    "crop_frames": None,
}


def parse(command: str, *argv: str) -> Settings:
    return parse_settings([*argv, "--output", "out"], command, "what it does")


def load_recipe(name) -> dict:
    return dict(load(name, FOLDERS).values)


def write(path, **content):
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_parses(name, tmp_path):
    teachers = ["--teachers", str(tmp_path)] if name.endswith("ft2") else []
    precision = ["--bf16", "false"] if name == "pretrain_audioset" else []
    settings = parse(COMMAND_OF[name], "--recipe", name, *teachers, *precision)
    options, arguments = settings.options, settings.training
    recipe = load_recipe(name)
    assert arguments.learning_rate == recipe["learning_rate"]
    if "method" in recipe:
        assert options.method == ("ft2" if name.endswith("ft2") else "ft1")
    if not name.startswith(("tiny", "demo")):
        assert all(getattr(arguments, key) == value for key, value in OFF.items())
        assert settings.data.augmentation is None
        assert (settings.data.long_files, settings.data.keep_silent) == ("cut", True)
        assert arguments.warmup_steps == 0
    comment = (FOLDERS["audioformer"] / f"{name}.yaml").read_text().splitlines()[0]
    assert comment.startswith("# ")


def test_the_paper_numbers():
    assert load_recipe("as20k_ft2")["classification_weight"] == 0.8
    second = load_recipe("as2m_phase2_ft2")
    assert (second["learning_rate"], second["classification_weight"], second["mpc_temperature"]) == (1e-5, 0.97, 0.03)
    assert load_recipe("as2m_phase1_ft1")["class_balanced_sampling"] is True
    assert load_recipe("esc50_ft1")["num_train_epochs"] == 20
    assert (load_recipe("pretrain")["mask_probability"], load_recipe("pretrain_audioset")["bf16"]) == (0.25, True)


def test_flags_go_before_the_recipe_and_the_recipe_before_its_base(tmp_path):
    base = write(tmp_path / "a.yaml", learning_rate=1e-3, num_train_epochs=5, seed=1)
    recipe = write(tmp_path / "b.yaml", base="a.yaml", num_train_epochs=7)
    arguments = parse("finetune", "--recipe", recipe, "--seed", "9").training
    assert (arguments.learning_rate, arguments.num_train_epochs, arguments.seed) == (1e-3, 7, 9)
    assert load_recipe(base)["num_train_epochs"] == 5


def test_flags_are_spelled_both_ways_and_output_is_a_name(tmp_path):
    flags = ["--max-rejected-share", "0.5", "--train_folds", "1", "2", "--data", str(tmp_path)]
    settings = parse("finetune", *flags)
    data, arguments = settings.data, settings.training
    assert (data.max_rejected_share, data.train_folds, arguments.output_dir) == (0.5, [1, 2], "out")
    assert parse("finetune", "--resume-from-checkpoint").training.resume_from_checkpoint == "last"
    assert parse("finetune", "--select-on-eval").data.select_on_eval is True


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("learning_rate: 1e-4\nnum_train_epochs: 3\nwarmup_steps: 0.1\ntrain_folds: [1, 2]\n")
    settings = parse("finetune", "--recipe", str(path))
    data, arguments = settings.data, settings.training
    assert arguments.learning_rate == 1e-4 and arguments.warmup_steps == 0.1 and data.train_folds == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"lerning_rate": 1e-4}, "`lerning_rate` is unknown.*did you mean learning_rate"),
        ({"learning_rate": "fast"}, "`learning_rate` must be a number, got 'fast'"),
        ({"num_codebooks": 2.5}, "`num_codebooks` must be a whole number, got 2.5"),
        ({"select_on_eval": "maybe"}, "`select_on_eval` must be true or false, got 'maybe'"),
        ({"method": "ft3"}, "`method` must be one of 'ft1', 'ft2', got 'ft3'"),
        ({"train_folds": 3}, "`train_folds` must be a list, each entry a whole number or null, got 3"),
        ({"mask_probability": 0.3}, "`mask_probability` does not apply to `finetune` of AudioFormer"),
        ({"max_rejected_share": 2}, r"`max_rejected_share` must be in \[0, 1\], got 2"),
        ({"method": "ft2"}, '`method` "ft2" needs `teachers`'),
        ({"base": "nothing"}, "`recipe` 'nothing' is unknown.*esc50_ft1"),
        ({"early_stopping_patience": 0}, "`early_stopping_patience` must be at least 1, got 0"),
        ({"eval_strategy": "often"}, "often"),
    ],
)
def test_mistakes_are_one_line_that_names_them(tmp_path, capsys, content, message):
    recipe = write(tmp_path / "mine.yaml", **content)
    with pytest.raises(SystemExit) as stopped:
        parse("finetune", "--recipe", recipe)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "Traceback" not in said
    assert said.startswith("audioformer finetune: error: ")
    assert re.search(message, said), said


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--recipe", "esc50_ft3"], "'esc50_ft3' is unknown (did you mean esc50_ft"),
        (["--recipe", "mine.yaml"], "'mine.yaml' does not exist"),
        (["--learning-rat", "1"], "--learning-rat is unknown (did you mean --learning-rate"),
        (["--learning-rate", "fast"], "must be a number, got 'fast'"),
        (["--data", "/nowhere/at/all"], "`data` '/nowhere/at/all' does not exist"),
        (["--model", "./gone"], "`model` './gone' does not exist"),
        (["--codes", "gone"], "`codes` 'gone' does not exist"),
        (["--mask-probability", "0.3"], "--mask-probability does not apply to `audioformer finetune` of AudioFormer"),
    ],
)
def test_mistakes_on_the_command_line(capsys, argv, message):
    with pytest.raises(SystemExit) as stopped:
        parse("finetune", *argv)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_output_must_be_given(capsys):
    with pytest.raises(SystemExit):
        parse_settings([], "pretrain", "")
    assert "`output` must be given" in capsys.readouterr().err


def test_bases_in_a_circle_are_refused(tmp_path):
    write(tmp_path / "a.yaml", base="b.yaml")
    recipe = write(tmp_path / "b.yaml", base="a.yaml")
    with pytest.raises(RecipeError, match="circle"):
        load_recipe(recipe)


def test_a_recipe_that_is_no_mapping_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("- 1\n")
    with pytest.raises(RecipeError, match="key: value"):
        load_recipe(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("a: [\n")
    with pytest.raises(RecipeError, match="not YAML"):
        load_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize("command", ["pretrain", "finetune", "evaluate"])
def test_help_is_short_and_has_what_the_command_takes(command):
    text = SettingsParser(command, "what it does", FAMILY).format_help()
    assert "--output" in text and "--recipe" in text and "Example: audioformer" in text
    assert ("--mask-probability" in text) == (command == "pretrain")
    assert ("--teachers" in text) == (command == "finetune")
    assert "--hub-token" not in text and "--max-rejected-share" in text or command == "pretrain"
    everything = SettingsParser(command, "what it does", FAMILY, everything=True).format_help()
    assert len(everything) >= len(text)
    assert "%%" not in everything


def test_help_goes_to_standard_output(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_settings(["--help"], "finetune", "what it does")
    printed = capsys.readouterr()
    assert ended.value.code == 0 and "--learning-rate" in printed.out and not printed.err


@pytest.mark.parametrize("command", ["pretrain", "finetune", "evaluate"])
def test_a_command_takes_the_settings_whose_metadata_name_it(command):
    taken = fields_of(command, FAMILY)
    for group in groups_of(FAMILY):
        for entry in dataclasses.fields(group):
            if entry.init and "commands" in entry.metadata:
                assert (entry.name in taken) == (command in entry.metadata["commands"]), entry.name
                assert entry.metadata["help"]
    assert ("learning_rate" in taken) == (command != "evaluate")


def test_dictionaries_of_the_trainer_can_be_given():
    given = {"fsdp_config": {"fsdp_version": 2}}
    assert check_values(given, "finetune", FAMILY, "recipe r") == given


def help_of(command: str, *argv: str, capsys) -> dict[str, str]:
    """The text of each flag in the help, and of the whole under an empty name; white space counts as one space."""
    with pytest.raises(SystemExit) as stopped:
        parse_settings([*argv, "--help-all" if "--help-all" in argv else "--help"], command, "What it does.")
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    flags = [flag.partition("\n\n")[0] for flag in re.split(r"\n  (?=-)", text)]
    found = {re.match(r"-[-\w]+", flag)[0]: re.sub(r"-\s+(?=\w)", "-", " ".join(flag.split())) for flag in flags[1:]}
    return {**found, "": " ".join(text.split())}


@pytest.mark.parametrize("name", ["tiny_pretrain", "esc50_ft1", "as2m_phase2_ft2", "pretrain_audioset"])
def test_the_help_states_each_default_as_the_recipe_leaves_it(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    command, values = COMMAND_OF[name], load_recipe(name)
    shown = help_of(command, "--recipe", name, capsys=capsys)
    assert f"Defaults are those of the recipe {name}." in shown[""]
    stated = 0
    for key, value in values.items():
        flag = "--" + key.replace("_", "-")
        if flag not in shown or not isinstance(value, (bool, int, float, str)):
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        assert shown[flag].endswith(f"(default: {text})"), shown[flag]
        assert shown[flag].lower().count("default") == 1
        stated += 1
    assert stated >= 5


def test_the_help_without_a_recipe_states_the_defaults_of_the_dataclasses(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    shown = help_of("finetune", capsys=capsys)
    assert "(default: 5e-05)" in shown["--learning-rate"] and "(default: 0.1)" in shown["--held-out-share"]
    assert "Defaults are those without a recipe" in shown[""]
    assert "Defaults to 'loss'" not in shown["--metric-for-best-model"]


def test_the_help_of_evaluate_speaks_of_no_training(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    shown = help_of("evaluate", capsys=capsys)
    assert "fresh model" not in shown[""] and "--family" not in shown and "held-out" not in shown[""]
    assert "classifier to measure" in shown["--model"]
    assert "Recipes: none" in shown[""]


def test_the_help_offers_nothing_deprecated_or_refused(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    shown = help_of("pretrain", "--help-all", capsys=capsys)
    assert "deprecated" not in shown[""].lower()
    assert not {"--gradient-checkpointing", "--push-to-hub", "--hub-token", "--local-rank"} & set(shown)
    assert {"--activation-checkpointing", "--optim", "--adam-beta1"} <= set(shown)


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_the_help_lists_the_recipes_of_the_command(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "3000")
    (listed,) = re.findall(r"Recipes: (.*)$", help_of(command, capsys=capsys)[""])
    wanted = {name for name in RECIPES if COMMAND_OF[name] == command}
    assert wanted - {"base", "ft2"} <= set(listed.split(", "))
    other = {name for name in RECIPES if COMMAND_OF[name] != command and name not in ("base",)}
    assert not other & set(listed.split(", "))
