"""Every shipped recipe builds."""

import pytest
import yaml

import apps.vision.segmentation.models  # noqa: F401 (networks by their class names)
from apps.vision.segmentation.data.datamodule import SegmentationData
from apps.vision.segmentation.task import SegmentationTask
from core.training.cli import SECTIONS, Parser, Runner
from core.training.recipes import recipes

PATHS = {recipe.name: recipe.path for recipe in recipes("segmentation")}


@pytest.mark.parametrize("name", PATHS)
def test_recipe_builds(name):
    content = yaml.safe_load(PATHS[name].read_text())
    assert set(content) <= set(SECTIONS)
    parser = Parser()
    parser.add_argument("--seed_everything", type=int, default=0)
    parser.add_lightning_class_args(Runner, "trainer")
    parser.add_lightning_class_args(SegmentationTask, "model")
    parser.add_lightning_class_args(SegmentationData, "data")
    made = parser.instantiate_classes(parser.parse_object(content))
    assert made.model.label and made.data.train is not None
    made.model.prepare(made.data)
    for section in ("data", "trainer"):
        for key, value in content[section].items():
            assert parser.get_default(f"{section}.{key}") != value, f"{name}: {section}.{key} {value} is the default"
