"""RGT: equal to its release, right for any size, nothing kept that weights have left behind."""

from pathlib import Path

import pytest
import torch

from apps.vision.superres.models.checkpoints import load_release
from apps.vision.superres.models.goldens_rgt import RGT_TABLE, rgt_mapping
from apps.vision.superres.models.rgt import RGT, rgt, rgt_small, shifted
from core.checkpoint import load
from core.errors import UserError
from core.verify import read, seeded, verify

GOLDENS = sorted((Path(__file__).parents[4] / "golden" / "rgt").glob("*.safetensors"))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, RGT_TABLE[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 9


@pytest.mark.parametrize(
    ("make", "counts"),
    [(rgt_small, (10_051_055, 10_235_695, 10_198_767)), (rgt, (13_217_831, 13_402_471, 13_365_543))],
)
def test_number_of_parameters(make, counts):
    with torch.device("meta"):
        assert tuple(sum(p.numel() for p in make(scale).parameters()) for scale in (2, 3, 4)) == counts


def small(scale=2, **changes):
    torch.manual_seed(0)
    arguments = {"dim": 16, "depths": (3, 2), "heads": 2, "window": (2, 4), "drop_path": 0.0} | changes
    return RGT(scale, **arguments).double().eval()


@pytest.mark.parametrize(("scale", "size"), [(2, (1, 1)), (3, (8, 50)), (4, (3, 17)), (2, (70, 2))])
@pytest.mark.parametrize("official", [True, False])
def test_any_size_and_each_sample_alone(scale, size, official):
    network = small(scale, official=official)
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        y = network(image)
        assert y.shape == (2, 3, scale * size[0], scale * size[1]) and y.isfinite().all()
        torch.testing.assert_close(torch.cat([network(sample[None]) for sample in image]), y)


def test_the_switch_changes_borders_alone():
    ours, theirs = small(official=False), small()
    theirs.load_state_dict(ours.state_dict())
    whole, odd = torch.rand(1, 3, 8, 12, dtype=torch.float64), torch.rand(1, 3, 7, 11, dtype=torch.float64)
    torch.testing.assert_close(ours(whole), theirs(whole))
    assert not torch.allclose(ours(odd), theirs(odd))


def test_which_blocks_are_shifted():
    assert [number for number in range(0, 8, 2) if shifted(0, number)] == [2, 6]
    assert [number for number in range(0, 8, 2) if shifted(1, number)] == [0, 4]


def test_what_is_kept_at_inference_follows_the_weights():
    network, image = small(), torch.rand(1, 3, 6, 7, dtype=torch.float64)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    with torch.no_grad():
        before = network(image)
    for _ in range(2):
        network.eval()(image).square().sum().backward()
        optimizer.step()
        with_gradients = network(image).detach()
        with torch.no_grad():
            torch.testing.assert_close(network(image), with_gradients)
    assert not torch.allclose(before, with_gradients)
    other = small()
    with torch.no_grad():
        other(image)
        other.load_state_dict(network.state_dict())
        torch.testing.assert_close(other(image), with_gradients)


def test_a_step_of_training_moves_every_weight_but_the_constants():
    network = small().train()
    network(torch.rand(1, 3, 16, 16, dtype=torch.float64)).square().sum().backward()
    idle = {name for name, p in network.named_parameters() if p.grad is None}
    assert not idle and all(p.grad.isfinite().all() for p in network.parameters())


def test_masks_and_tables_of_a_release_file_are_not_needed():
    network = small()
    mapping = rgt_mapping(network)
    wanted = {"attn_mask_0", "attn_mask_1", "attns.0.rpe_biases", "attns.1.relative_position_index"}
    assert mapping.unexpected([f"layers.0.blocks.2.attn.{name}" for name in wanted]) == []
    path = next(path for path in GOLDENS if path.stem == "whole_x3_train")
    assert mapping.unexpected(read(path)[0].weights) == []
    with pytest.raises(UserError, match="does not fit"):
        load(network, {"conv_first.weight": torch.zeros(16, 3, 3, 3)}, mapping)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="one number of heads a group"):
        small(heads=(2,))


def test_loads_a_release_file(tmp_path):
    facts, tensors = read(next(path for path in GOLDENS if path.stem == "whole_x2_odd"))
    official = {name: torch.from_numpy(seeded(name, shape, facts.seed)) for name, shape in facts.weights.items()}
    official["layers.0.blocks.2.attn.attn_mask_0"] = torch.zeros(16, 256, 256)  # sized for training images
    torch.save({"params": official}, tmp_path / "release.pth")
    network = RGT_TABLE[facts.cls].build(facts).eval()
    load_release(network, tmp_path / "release.pth")
    with torch.no_grad():
        y = network(*facts.inputs.values())
    torch.testing.assert_close(y, tensors["output/0"], rtol=1e-4, atol=1e-4 * float(y.abs().max()))
