"""Mappings: patterns, strictness, refusal of unsafe files."""

import pickle

import pytest
import torch
from torch import nn

from core.checkpoint import Mapping, cat, check, derive, load, read, same
from core.errors import UserError


class Ours(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 4) for _ in range(11))
        self.kv = nn.Linear(2, 44)


OFFICIAL = {f"enc.{i}.{part}.{p}": torch.full((2, 2) if p == "weight" else (2,), float(i)) + (part == "b")
            for i in range(11) for part in "ab" for p in ("weight", "bias")}  # fmt: skip
MAPPING = Mapping(
    cat("layers.{i}.{p}", "enc.{i}.a.{p}", "enc.{i}.b.{p}"),
    cat("kv.{p}", "enc.{*}.{a|b}.{p}"),
    ignore=["table"],
)


def test_fused_rules_fill_everything_in_natural_order():
    module = Ours()
    load(module, OFFICIAL, MAPPING)
    assert module.layers[10].weight[:, 0].tolist() == [10, 10, 11, 11]
    # Layer by layer, a before b within a layer; layer 10 after layer 9.
    assert module.kv.bias[-4:].tolist() == [10, 10, 11, 11]
    assert module.kv.bias[:4].tolist() == [0, 0, 1, 1]


def test_gradients_come_back_under_official_names():
    leaves = {k: v.clone().requires_grad_() for k, v in OFFICIAL.items()}
    ours = MAPPING(leaves)
    (ours["kv.weight"].sum() + 2 * ours["layers.3.weight"].sum()).backward()
    assert leaves["enc.3.b.weight"].grad.eq(3).all()
    assert leaves["enc.4.b.weight"].grad.eq(1).all()


def test_errors_name_missing_unexpected_and_wrong_shapes():
    broken = {k: v for k, v in OFFICIAL.items() if not k.startswith("enc.7.")}
    broken["stray.weight"] = torch.zeros(1)
    broken["enc.2.a.bias"] = torch.zeros(3)
    broken["table"] = torch.zeros(1)
    with pytest.raises(UserError) as error:
        check(Ours(), broken, MAPPING, "file.pth")
    text = str(error.value)
    assert "layers.7.weight (from enc.7.a.weight, enc.7.b.weight)" in text
    assert "stray.weight" in text
    assert "layers.2.bias: 5 in the file, 4 in the model" in text
    assert "table" not in text


def test_derived_tensors():
    made = Mapping(derive("w", "conv.weight", lambda w: w[..., 0]), same("{p*}", "rest.{p*}"))(
        {"conv.weight": torch.ones(2, 3, 1), "rest.a.b": torch.zeros(1)}
    )
    assert made["w"].shape == (2, 3)
    assert "a.b" in made


def test_reading_nested_files(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"params": {"module.a": torch.zeros(1)}, "params_ema": {"module.a": torch.ones(1)}}, path)
    assert read(path)["a"].item() == 1


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_unsafe_pickles_are_refused(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"a": torch.zeros(1), "b": Evil()}, path)
    with pytest.raises(UserError, match="would execute code"):
        read(path)
    assert "executed" not in capsys.readouterr().out
    plain = tmp_path / "plain.pth"
    plain.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError):
        read(plain)
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "none.pth")


def test_a_picture_is_not_said_to_execute_code(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    with pytest.raises(UserError, match=r"a\.png: is no file of tensors; give one of torch\.save"):
        read(tmp_path / "a.png")
