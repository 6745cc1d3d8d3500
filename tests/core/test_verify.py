"""The comparison: passes what is equal, fails what is not, and says which."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from core.checkpoint import Mapping, same
from core.training.verification import main
from core.verify import Golden, normal, read, seeded, verify


def write(path, module, x, **meta):
    """A golden of a small module, as the format says."""
    names = [(k, list(p.shape)) for k, p in module.named_parameters()]
    with torch.no_grad():
        for name, shape in names:
            dict(module.named_parameters())[name].copy_(torch.from_numpy(seeded(name, shape)))
    x = x.requires_grad_()
    y = module(x)
    (y * torch.from_numpy(normal(0, "output/0", y.shape))).sum().backward()
    tensors = {"input/x": x.detach(), "output/0": y.detach(), "grad_input/x": x.grad}
    for name, p in module.named_parameters():
        if p.numel() <= 256:
            tensors[f"grad/{name}"] = p.grad
        else:
            probe = torch.from_numpy(normal(0, name, p.shape)).double()
            tensors[f"grad_dot/{name}"] = (p.grad.double() * probe).sum().reshape(1)
            tensors[f"grad_norm/{name}"] = p.grad.double().norm().reshape(1)
    facts = {"system": "toy", "class": "Linear", "config": {}, "call": ["x"], "mode": "eval", "seed": 0,
             "weights": names, "tolerance": 1e-5} | meta  # fmt: skip
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {k: json.dumps(v) for k, v in facts.items()})


GOLDEN = Golden(lambda facts: nn.Linear(20, 30), Mapping(same("{p}", "{p}")))


def test_equal_modules_pass(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, nn.Linear(20, 30), torch.randn(3, 20))
    results = verify(path, GOLDEN)
    assert {r.name for r in results} == {"output/0", "grad_input/x", "grad/bias", "grad_dot/weight", "grad_norm/weight"}
    assert all(r.ok for r in results)


@pytest.mark.parametrize("fault", ["forward", "gradient"])
def test_unequal_modules_fail(tmp_path, fault):
    class Wrong(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return y * 1.001 if fault == "forward" else y.detach() + (y - y.detach()) * 1.001

    path = tmp_path / "a.safetensors"
    write(path, nn.Linear(20, 30), torch.randn(3, 20))
    results = {r.name: r.ok for r in verify(path, Golden(lambda facts: Wrong(20, 30), Mapping(same("{p}", "{p}"))))}
    assert results["output/0"] == (fault == "gradient")
    assert not results["grad_input/x"]
    assert not results["grad_norm/weight"]


def test_shape_mismatch_fails(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, nn.Linear(20, 30), torch.randn(3, 20))
    turned = Golden(GOLDEN.build, GOLDEN.mapping, lambda run, inputs: run(**{"input": inputs["x"]}).mT)
    assert not verify(path, turned)[0].ok


def test_command_reports_unknown_files(tmp_path, capsys):
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    write(tmp_path / "strange.safetensors", nn.Linear(2, 3), torch.randn(1, 2), system="nobody")
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "not a golden file" in out
    assert "system nobody is not in any table" in out
    assert "0 of 2 goldens pass" in out


def test_facts_keep_the_calling_order(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, nn.Linear(2, 3), torch.randn(1, 2))
    facts, _ = read(path)
    assert list(facts.inputs) == ["x"] and facts.weights == {"weight": (3, 2), "bias": (3,)}
