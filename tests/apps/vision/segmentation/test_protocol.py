"""Recipes over seeds in one table."""

from apps.vision.segmentation.protocol import main


def test_means_over_seeds_and_runs_kept(tiny, capsys):
    words = [tiny, "--seeds", "0-1", "--set", "trainer.max_epochs=1"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "tiny, seed 1" in first and "commonest class of each place" in first and "2 seeds" in first
    assert main(words) == 0
    again = capsys.readouterr().out
    assert "tiny, seed 1" not in again
    assert first.splitlines()[-5:] == again.splitlines()[-5:]
    assert main([tiny, "--seeds", "x"]) == 2
    assert "whole numbers" in capsys.readouterr().err
