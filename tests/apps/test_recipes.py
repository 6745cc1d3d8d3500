"""Every shipped recipe of every application builds what it says, and says nothing that is the default."""

from importlib import import_module

import pytest
import yaml

from core.training.cli import SECTIONS, Parser, Runner
from core.training.recipes import domains, module_of, recipes

RECIPES = {f"{recipe.domain}-{recipe.name}": recipe for recipe in recipes()}


def parser(domain):
    application = import_module(f"{module_of(domains()[domain])}.cli").APPLICATION
    made = Parser()
    made.add_argument("--seed_everything", type=int, default=0)
    made.add_lightning_class_args(Runner, "trainer")
    made.add_lightning_class_args(application.task, "model")
    made.add_lightning_class_args(application.data, "data")
    return made


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_builds(name):
    recipe = RECIPES[name]
    content = yaml.safe_load(recipe.path.read_text())
    assert set(content) <= set(SECTIONS)
    assert {"model", "data", "cost"} <= set(recipe.facts)
    made = parser(recipe.domain)
    parsed = made.parse_object(content)
    if not recipe.facts["data"].startswith("your own"):
        built = made.instantiate_classes(parsed)
        assert built.model.label and callable(built.model.network)
    for section in ("model", "data", "trainer"):
        for key, value in content.get(section, {}).items():
            if not isinstance(value, dict | list):
                assert made.get_default(f"{section}.{key}") != value, f"{name}: {section}.{key} {value} is the default"
