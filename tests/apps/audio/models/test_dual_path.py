"""DPRNN and SepFormer: equal to SpeechBrain's, chunks that meet every frame twice."""

from pathlib import Path

import pytest
import torch

from apps.audio.models import DPRNN, SeparationNetwork, SepFormer, load_release
from apps.audio.models.dprnn import BidirectionalLSTM
from apps.audio.models.dual_path import DualPathBlock, DualPathMasks, count_chunks, cut_chunks, join_chunks
from apps.audio.models.goldens import GOLDENS
from core.errors import UserError
from core.mixers import Attention, JointAttention
from core.verify import read, seeded, verify

FOLDER = Path(__file__).parents[3] / "golden"
SYSTEMS = ("dprnn", "sepformer")
FILES = sorted(path for system in SYSTEMS for path in (FOLDER / system).glob("*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_equals_speechbrain(path):
    results = verify(path, GOLDENS[path.parent.name][read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_every_class_has_a_golden():
    for system in SYSTEMS:
        assert {read(path)[0].cls for path in FILES if path.parent.name == system} == set(GOLDENS[system])


@pytest.mark.parametrize(("make", "count"), [(SepFormer, 25_679_361), (DPRNN, 14_617_089)])
def test_number_of_parameters(make, count):
    network = make()
    assert sum(p.numel() for p in network.parameters()) == count
    assert network.masks.chunk == 250 and (network.kernel, network.stride) == (16, 8)


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 40])
def test_every_frame_lies_in_two_chunks(length):
    x = torch.randn(2, length, 3)
    chunks = cut_chunks(x, 8)
    assert chunks.shape == (2, count_chunks(length, 8), 8, 3)
    torch.testing.assert_close(join_chunks(chunks, length), 2 * x)
    for number, chunk in enumerate(chunks.unbind(1)):
        for place in range(8):
            frame = 4 * number - 4 + place
            assert torch.equal(chunk[:, place], x[:, frame] if 0 <= frame < length else torch.zeros(2, 3))


def test_odd_chunks_cannot_overlap_by_half():
    with pytest.raises(ValueError, match="chunk 5; give an even number"):
        DualPathMasks(4, 4, [], chunk=5)


def test_a_sequence_of_an_lstm_ends_where_its_mask_does():
    torch.manual_seed(0)
    mixer = BidirectionalLSTM(4, 3).double()
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[6], [2], [0]])
    y = mixer(x.masked_fill(~mask[..., None], torch.nan), mask=mask)
    torch.testing.assert_close(y[:1], mixer(x[:1]))
    torch.testing.assert_close(y[1:2, :2], mixer(x[1:2, :2]))
    assert not y[~mask].any()


def test_mixers_of_the_core_within_and_across_chunks():
    torch.manual_seed(0)
    block = DualPathBlock(8, JointAttention(8, key_dim=4, group=4), Attention(8, 2))
    network = SeparationNetwork(DualPathMasks(8, 8, [block], chunk=6), 8, kernel=8).double()
    lengths, clips = torch.tensor([300, 90]), torch.randn(2, 300, dtype=torch.float64)
    for row, clip, length in zip(network(clips, lengths), clips, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:, :length], network(clip[None, :length])[0])


def test_more_chunks_than_the_release_has_positions_for():
    network = SepFormer(4, 1, layers=1, heads=2, hidden=4, chunk=2, channels=4, kernel=2)
    with torch.no_grad():
        y = network(torch.randn(1, 2600))
    assert y.shape == (1, 2, 2600) and y.isfinite().all()


@pytest.fixture
def release(tmp_path):
    """A folder of SpeechBrain's with the weights of a golden, its mixture and result."""
    facts, tensors = read(FOLDER / "sepformer/model_2spk.safetensors")
    weights = {key: torch.from_numpy(seeded(key, shape, facts.seed)) for key, shape in facts.weights.items()}
    for number in range(2):
        for side in ("intra", "inter"):
            weights[f"masknet.dual_mdl.{number}.{side}_mdl.pos_enc.pe"] = torch.zeros(1, 2500, 8)
    for part in ("encoder", "masknet", "decoder"):
        own = {key.removeprefix(f"{part}."): t for key, t in weights.items() if key.startswith(f"{part}.")}
        torch.save(own, tmp_path / f"{part}.ckpt")
    return tmp_path, facts.inputs["mix"], tensors["output/0"].mT


SMALL = {"layers": 1, "heads": 2, "hidden": 12, "chunk": 10}


def test_a_release_of_speechbrain(release):
    folder, mixture, output = release
    network = SepFormer(8, 2, official=True, **SMALL).eval()
    load_release(network, folder)
    with torch.no_grad():
        y = network(mixture)
    assert (y - output).norm() < 1e-5 * output.norm()


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (SepFormer(16, 2, **SMALL), "weights of width 8 but the model has width 16; build it with dim=8"),
        (SepFormer(8, 2, speakers=3, **SMALL), "separates 2 speakers but the model is built for 3"),
        (DPRNN(8, 2, chunk=10), "holds weights of SepFormer but the model is a DPRNN; use that class."),
        (SepFormer(8, 3, **SMALL), "missing: "),
    ],
)
def test_another_network(release, network, sentence):
    with pytest.raises(UserError, match=sentence):
        load_release(network, release[0])
