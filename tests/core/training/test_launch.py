"""The command without its heavy part: quick answers, clear errors, nothing imported."""

import subprocess
import sys

import pytest

from core.errors import UserError
from core.training import launch, recipes


def lines(capsys, *words):
    with pytest.raises(SystemExit) as end:
        launch.main(list(words))
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


def test_overview_lists_domains_and_what_to_try(capsys):
    code, out, _ = lines(capsys)
    assert code == 0 and "timeseries" in out and "omnimix recipes" in out


def test_domain_help_lists_commands_and_recipes(capsys):
    code, out, _ = lines(capsys, "timeseries", "--help")
    assert code == 0
    for word in ("fit", "evaluate", "predict", "timexer_quick", "Examples"):
        assert word in out


def test_recipes_start_with_built_in_data(capsys):
    code, out, _ = lines(capsys, "recipes", "timeseries")
    rows = out.splitlines()
    assert code == 0 and "quick" in rows[1] and "published" in rows[0]


@pytest.mark.parametrize(
    "words, hint",
    [(("timeserie",), "timeseries"), (("timeseries", "fitt"), "fit"), (("recipes", "timeseris"), "timeseries")],
)
def test_mistyped_words_get_the_nearest(capsys, words, hint):
    code, _, err = lines(capsys, *words)
    assert code == 2 and hint in err and len(err.splitlines()) == 1


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match="timexer_epf"):
        recipes.find("timexer_ep", "timeseries")
    with pytest.raises(UserError, match="no such file"):
        recipes.find("no/such.yaml")


def test_every_recipe_has_a_head():
    for recipe in recipes.recipes():
        assert recipe.summary and {"model", "data", "cost"} <= set(recipe.facts), recipe.path


@pytest.mark.parametrize("words", [[], ["timeseries"], ["recipes"], ["timeseries", "--help"]])
def test_light_commands_import_neither_torch_nor_numpy(words):
    code = (
        "import sys\nfrom core.training.launch import run\n"
        f"run({words!r})\n"
        "heavy = {'torch', 'numpy', 'lightning', 'pandas'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_importing_core_is_light():
    code = (
        "import sys, torch\nstate = torch.get_default_dtype(), torch.get_num_threads()\n"
        "import core, core.mixers, core.checkpoint, core.verify\n"
        "assert (torch.get_default_dtype(), torch.get_num_threads()) == state\n"
        "heavy = {'lightning', 'torchvision', 'pandas'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
