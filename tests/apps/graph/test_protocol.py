"""Recipes over splits and seeds in one table."""

import pytest

from apps.graph.metrics import summarise
from apps.graph.protocol import main
from core.errors import UserError
from core.training.protocol import numbers
from core.training.store import Store


def test_means_over_splits_and_runs_kept(tiny, capsys):
    words = [tiny, "--splits", "0-1", "--seeds", "3", "--set", "trainer.max_epochs=2"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "tiny, split 1, seed 3" in first and "ridge on own features" in first and "2 runs" in first
    assert main(words) == 0
    again = capsys.readouterr().out
    assert "split 1, seed 3" not in again
    assert first.splitlines()[-8:] == again.splitlines()[-8:]


def test_deviation_is_that_of_a_sample():
    assert summarise([0.5, 0.7]).deviation == pytest.approx(0.02**0.5)


def test_what_cannot_be_is_one_sentence(tiny, capsys):
    assert numbers("--splits", "0-2,5") == [0, 1, 2, 5]
    with pytest.raises(UserError, match="whole numbers"):
        numbers("--splits", "a")
    assert main([tiny, "--splits", "9"]) == 2
    error = capsys.readouterr().err
    assert "splits 0 .. 2" in error and error.count("\n") == 1


def test_other_settings_are_another_run(tmp_path):
    one, other = (Store(tmp_path, "x", {"lr": rate}) for rate in (1, 2))
    one.put("split0", 0, {})
    assert one.get("split0", 0) is not None and other.get("split0", 0) is None
