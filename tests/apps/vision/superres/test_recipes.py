"""Every shipped recipe builds."""

import pytest
import yaml

import apps.vision.superres.models  # noqa: F401 (networks by their class names)
from apps.vision.superres.data.datamodule import SuperResolutionData
from apps.vision.superres.task import SuperResolutionTask
from core.training.cli import SECTIONS, Parser, Runner
from core.training.recipes import recipes

PATHS = {recipe.name: recipe.path for recipe in recipes("superres")}


@pytest.mark.parametrize("name", PATHS)
def test_recipe_builds(name):
    content = yaml.safe_load(PATHS[name].read_text())
    assert set(content) <= set(SECTIONS)
    parser = Parser()
    parser.add_argument("--seed_everything", type=int, default=0)
    parser.add_lightning_class_args(Runner, "trainer")
    parser.add_lightning_class_args(SuperResolutionTask, "model")
    parser.add_lightning_class_args(SuperResolutionData, "data")
    made = parser.instantiate_classes(parser.parse_object(content))
    assert made.model.label and made.data.train is not None and callable(made.model.network)
    for section in ("data", "trainer"):
        for key, value in content[section].items():
            assert parser.get_default(f"{section}.{key}") != value, f"{name}: {section}.{key} {value} is the default"
