"""Networks of shipped recipes say nothing that is a default anyway."""

import pytest
import yaml

import apps.timeseries.models  # noqa: F401 (networks by their class names)
from apps.timeseries.data.datamodule import ForecastData
from apps.timeseries.task import ForecastTask
from core.training.cli import Parser, Runner
from core.training.recipes import recipes

PATHS = {recipe.name: recipe.path for recipe in recipes("timeseries")}


def parser():
    made = Parser()
    made.add_argument("--seed_everything", type=int, default=0)
    made.add_lightning_class_args(Runner, "trainer")
    made.add_lightning_class_args(ForecastTask, "model")
    made.add_lightning_class_args(ForecastData, "data")
    return made


@pytest.mark.parametrize("name", PATHS)
def test_recipe_repeats_no_default(name):
    content = yaml.safe_load(PATHS[name].read_text())
    defaults = parser().parse_object({"model": {"network": content["model"]["network"]["class_path"]}})
    given = content["model"]["network"].get("init_args", {})
    for key, value in given.items():
        if not isinstance(value, dict):
            assert defaults.model.network.init_args[key] != value, f"{name}: {key} {value} is the default"
