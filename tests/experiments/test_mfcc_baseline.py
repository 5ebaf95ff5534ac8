"""The MFCC baseline on folds of sounds that differ in pitch and noise."""

import pytest

from audioformer.experiments.mfcc_baseline import fold_accuracies, main

from .esc50_folder import write_esc50


def test_each_fold_is_tested_with_a_classifier_of_the_others(tmp_path, capsys):
    folder = write_esc50(tmp_path / "esc", num_folds=3, clips_per_class_and_fold=4)
    accuracies = fold_accuracies(folder)
    assert sorted(accuracies) == [1, 2, 3] and min(accuracies.values()) > 0.8
    main(["--data", str(folder)])
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["fold", "fold", "fold", "mean"]
    assert said[0].split()[-1] == f"{accuracies[1]:.1%}"


def test_data_without_folds_are_refused(tmp_path):
    folder = write_esc50(tmp_path / "esc", num_folds=1, clips_per_class_and_fold=2)
    with pytest.raises(ValueError, match="at least two folds"):
        fold_accuracies(folder)
    (tmp_path / "plain" / "a").mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "plain" / name).mkdir(exist_ok=True)
        source = next((folder / "audio").glob("*.wav"))
        (tmp_path / "plain" / name / "1.wav").write_bytes(source.read_bytes())
    with pytest.raises(ValueError, match="clips without a fold"):
        fold_accuracies(tmp_path / "plain")
