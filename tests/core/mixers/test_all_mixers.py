"""No mixer without its contract test, and every mixer compiles."""

import importlib.util
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import core.mixers
from core.testing import check_compile, find_mixers


def cases_of(module_name):
    """The CASES of the test file that mirrors a module of core.mixers."""
    path = Path(__file__).parent / f"test_{module_name}.py"
    assert path.is_file(), f"core/mixers/{module_name}.py has no tests/core/mixers/{path.name}"
    spec = importlib.util.spec_from_file_location(f"cases_{module_name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "check_mixer(" in path.read_text(), f"{path.name} does not call check_mixer"
    return module.CASES


MIXERS = find_mixers(core.mixers)
MODULES = sorted({mixer.__module__.rsplit(".", 1)[-1] for mixer in MIXERS})
ALL = {f"{module}: {name}": case for module in MODULES for name, case in cases_of(module).items()}


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.__name__)
def test_every_mixer_is_held_to_the_contract(mixer):
    cases = cases_of(mixer.__module__.rsplit(".", 1)[-1])
    assert any(type(case.make()) is mixer for case in cases.values())


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.__name__)
def test_every_mixer_is_exported_and_starts_with_dim(mixer):
    assert getattr(core.mixers, mixer.__name__) is mixer
    assert mixer.__name__ in core.mixers.__all__
    parameters = list(inspect.signature(mixer).parameters.values())
    assert parameters[0].name == "dim"
    assert all(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters)
    assert all(p.annotation is not p.empty for p in parameters)
    assert pickle.loads(pickle.dumps(mixer)) is mixer


@pytest.mark.parametrize("name", ["attention: whole", "attention: causal", "convolution: causal"])  # the quick ones
def test_compiles_to_one_graph(name):
    check_compile(ALL[name]._replace(grids=ALL[name].grids[1:2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_mixer_compiles_to_one_graph(name):
    check_compile(ALL[name]._replace(grids=ALL[name].grids[-1:]), "inductor")


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in ALL if len(ALL[n].grids) > 1])
def test_every_mixer_compiles_for_changing_sizes(name):
    check_compile(ALL[name]._replace(grids=ALL[name].grids[-2:]))


def test_import_is_light_and_leaves_global_state_alone():
    code = (
        "import sys, time, torch\n"
        "state = lambda: (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),"
        " torch.random.get_rng_state().sum().item(), torch.get_float32_matmul_precision())\n"
        "before, start = state(), time.process_time()\n"
        "import core.mixers, core.blocks, core.pyramid, core.resample, core.channels\n"
        "spent = time.process_time() - start\n"
        "assert state() == before\n"
        "heavy = {'lightning', 'torchvision', 'matplotlib', 'gluonts', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert spent < 0.3, spent\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
