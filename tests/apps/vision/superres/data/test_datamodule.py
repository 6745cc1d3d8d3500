"""Patches: the protocol's pixels, the same draws whatever the workers, the cache and the interruption."""

import itertools

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from PIL import Image

from apps.vision.superres.data.crops import Crops, Files, Memory
from apps.vision.superres.data.datamodule import SuperResolutionData
from apps.vision.superres.data.degradation import Noisy, SecondOrder
from apps.vision.superres.data.pairs import FileItem, make_pair
from apps.vision.superres.data.sources import Images, Procedural, Shrunk
from apps.vision.superres.resize import resize
from core.errors import UserError
from core.training.draws import Draws

RANDOM = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
    """Seven images of different sizes, one gray, none a multiple of the scales."""
    for n, (h, w) in enumerate([(50, 38), (41, 70), (33, 35), (64, 64), (47, 39), (90, 45), (37, 37)]):
        pixels = RANDOM.integers(0, 256, (h, w, 3), dtype=np.uint8)
        Image.fromarray(pixels[..., 0] if n == 3 else pixels).save(tmp_path / f"{n}.png")
    return tmp_path


def items(folder):
    return [FileItem(p.stem, p) for p in sorted(folder.iterdir())]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_patches_are_pieces_of_whole_protocol_images(folder, scale):
    """Every patch is found, in one of its eight positions, in the image shrunk whole."""
    pairs = [make_pair(item, scale) for item in items(folder)]
    batch = Crops(Memory(pairs), 5, scale, seed=1).__getitems__(range(60))
    assert batch["lr"].shape == (60, 3, 5, 5) and batch["hr"].shape == (60, 3, 5 * scale, 5 * scale)
    assert batch["lr"].dtype == torch.float32 and batch["hr"].is_contiguous()
    seen, ways = set(), set()
    for lr, hr in zip(batch["lr"], batch["hr"], strict=True):
        for way in range(8):
            a, b = lr, hr
            if way & 4:
                a, b = a.mT, b.mT
            a, b = (t.flip([d for d, bit in ((1, 1), (2, 2)) if way & bit]) for t in (a, b))
            place = _find((a * 255).round().byte().permute(1, 2, 0).numpy(), pairs)
            if place is not None:
                n, top, left = place
                box = pairs[n].hr[scale * top : scale * (top + 5), scale * left : scale * (left + 5)]
                np.testing.assert_array_equal((b * 255).round().byte().permute(1, 2, 0).numpy(), box)
                seen.add(n)
                ways.add(way)
                break
        else:
            raise AssertionError("the patch is not in any image")
    assert len(seen) == 7 and len(ways) == 8


def _find(patch, pairs):
    for n, pair in enumerate(pairs):
        windows = np.lib.stride_tricks.sliding_window_view(pair.lr, (5, 5), (0, 1))
        hits = (windows == patch.transpose(2, 0, 1)).all((2, 3, 4))
        if hits.any():
            return (n, *np.argwhere(hits)[0].tolist())
    return None


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_decoding_at_every_draw_gives_the_same_bytes(folder, scale):
    memory = Crops(Memory([make_pair(item, scale) for item in items(folder)]), 8, scale, seed=2)
    files = Crops(Files(items(folder), scale), 8, scale, seed=2)
    for name, value in memory.__getitems__(range(80)).items():
        assert torch.equal(value, files.__getitems__(range(80))[name])


def test_larger_images_are_drawn_more_often():
    sizes = [(8, 8), (8, 24), (24, 24)]
    store = Memory([make_pair(_Plain(n, s), 2) for n, s in enumerate(sizes)])
    batch = Crops(store, 4, 2).__getitems__(range(2000))
    share = torch.bincount((batch["lr"][:, 0, 0, 0] * 255).round().long(), minlength=3) / 2000
    np.testing.assert_allclose(share, [1 / 13, 3 / 13, 9 / 13], atol=0.03)


class _Plain(FileItem):
    """One colour, its number."""

    def __init__(self, number, size):
        object.__setattr__(self, "name", str(number))
        object.__setattr__(self, "shape", size)

    def original(self):
        return np.full((2 * self.shape[0], 2 * self.shape[1], 3), int(self.name), np.uint8), False

    def small(self):
        return None


def test_colours_in_any_order(folder):
    """The same patches, channels exchanged alike in both sizes; all six orders occur."""
    memory = Memory([make_pair(item, 2) for item in items(folder)])
    plain = Crops(memory, 5, 2, seed=1).__getitems__(range(80))
    mixed = Crops(memory, 5, 2, seed=1, shuffle_colours=True).__getitems__(range(80))
    seen = set()
    for n in range(80):
        orders = [
            order
            for order in itertools.permutations(range(3))
            if torch.equal(mixed["hr"][n], plain["hr"][n][list(order)])
        ]
        assert any(torch.equal(mixed["lr"][n], plain["lr"][n][list(order)]) for order in orders)
        seen.update(orders)
    assert len(seen) == 6


def test_images_at_several_sizes(folder):
    source = Images(str(folder))
    made = Shrunk(source, (1.0, 0.6)).items(2)
    assert len(made) == 2 * len(source.items(2)) and len({item.name for item in made}) == len(made)
    for item in made:
        pixels, _ = item.original()
        assert pixels.shape[:2] == item.size() and pixels.dtype == np.uint8
    large, small = made[0], made[1]
    np.testing.assert_array_equal(large.original()[0], source.items(2)[0].original()[0])
    np.testing.assert_array_equal(small.original()[0], resize(large.original()[0], size=small.size()))
    with pytest.raises(UserError, match="at most 1"):
        Shrunk(source, (1.5,))


def test_images_smaller_than_a_patch(folder):
    pairs = [make_pair(item, 4) for item in items(folder)]
    with pytest.warns(UserWarning, match="4 of 7 training images are smaller than a patch of 40 pixels"):
        crops = Crops(Memory(pairs), 10, 4)
    crops.__getitems__(range(50))
    with pytest.raises(UserError, match=r"use --data\.patch 16 or less"):
        Crops(Memory(pairs), 17, 4)
    with pytest.raises(UserError, match="must be at least 1"):
        Crops(Memory(pairs), 0, 4)


def data(folder, **more):
    arguments = {"path": str(folder), "scale": 2, "patch": 6, "batch_size": 4, "steps": 3}
    return SuperResolutionData(**(arguments | more))


def batches(module, epoch=0, seed=5, skip=0):
    torch.manual_seed(seed)
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    loader.load_state_dict({"given": skip})
    return list(loader)


@pytest.mark.parametrize("degradation", [None, SecondOrder()])
def test_batches_depend_on_seed_and_epoch_alone(folder, degradation):
    whole = batches(data(folder, degradation=degradation))
    assert len(whole) == 3 and whole[0]["lr"].shape == (4, 3, 6, 6) and whole[0]["hr"].shape == (4, 3, 12, 12)
    again = batches(data(folder, degradation=degradation), skip=1)
    assert all(torch.equal(a["hr"], b["hr"]) and torch.equal(a["lr"], b["lr"]) for a, b in zip(whole[1:], again))  # noqa: B905
    other = [batches(data(folder, degradation=degradation), epoch=1), batches(data(folder), seed=6)]
    assert not any(torch.equal(a["hr"], whole[n]["hr"]) for made in other for n, a in enumerate(made))


def test_workers_change_nothing(folder):
    alone, two = (batches(data(folder, workers=w, degradation=SecondOrder())) for w in (0, 2))
    assert all(torch.equal(a[k], b[k]) for a, b in zip(alone, two, strict=True) for k in a)


def test_memory_limit_changes_nothing(folder):
    module = data(folder, memory_mb=0)
    assert isinstance(module.store(), Files) and isinstance(data(folder).store(), Memory)
    assert all(torch.equal(a["lr"], b["lr"]) for a, b in zip(batches(data(folder)), batches(module), strict=True))


def test_parts(folder):
    module = data(folder)
    assert [i.name for i in module.items("validation")] == ["0"] and len(module.items("train")) == 6
    assert [i.name for i in module.items("test")] == ["0"]
    assert module.describe() == f"{folder.name}, 6 images, patches 6 -> 12; validation 1, test 1 images"
    sample = next(iter(module.val_dataloader()))
    assert sample["lr"].shape == (1, 3, 25, 19) and sample["hr"].shape == (1, 3, 50, 38)
    assert sample["name"] == "0" and sample["index"] == 0 and sample["gray"] is False
    pair = module.part("validation").pair(0)
    np.testing.assert_array_equal((sample["hr"][0] * 255).round().byte().permute(1, 2, 0), pair.hr)
    own = data(folder, validation=Images(str(folder)), test=Procedural(2, 32))
    assert len(own.items("train")) == 7 and len(own.part("validation")) == 7 and own.label == "built-in drawings"
    assert own.part("validation")[3]["gray"] is True
    assert [s["name"] for s in own.test_dataloader()] == ["drawing-0-000", "drawing-0-001"]


def test_files_to_enlarge_need_no_other_data():
    module = SuperResolutionData(files=["a.png"], scale=3)
    assert module.files == ["a.png"] and module.describe() == "1 files or folders, x3" and module.label == "your files"
    assert SuperResolutionData(test=Procedural(3)).describe() == "x4; test 3 images"


def test_validation_is_degraded_the_same_way_every_time_and_the_test_is_not(folder):
    module, plain = data(folder, degradation=Noisy(20)), data(folder)
    first, second = (module.part("validation")[0]["lr"] for _ in range(2))
    assert torch.equal(first, second) and not torch.equal(first, plain.part("validation")[0]["lr"])
    assert torch.equal(module.part("test")[0]["lr"], plain.part("test")[0]["lr"])


class Recorder(pl.LightningModule):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.weight, self.given = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, batch, batch_idx):
        self.given.append(batch["lr"])
        return self.weight * batch["lr"].mean()

    def validation_step(self, batch, batch_idx):
        assert batch["lr"].shape[0] == 1 and batch["name"] == "0"

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_draws_other_patches_in_every_epoch(folder):
    torch.manual_seed(5)
    recorder = Recorder()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "num_sanity_val_steps": 0}
    pl.Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **quiet).fit(recorder, data(folder))
    expected = batches(data(folder)) + batches(data(folder), epoch=1)
    assert all(torch.equal(a, b["lr"]) for a, b in zip(recorder.given, expected, strict=True))


def test_epochs_follow_on_each_other():
    draws = Draws(3)
    assert list(draws) == [0, 1, 2] and len(draws) == 3
    draws.set_epoch(2)
    assert list(draws) == [6, 7, 8]


def test_errors(folder, tmp_path_factory):
    with pytest.raises(UserError, match=r"name a folder of images with --data\.path"):
        SuperResolutionData()
    with pytest.raises(UserError, match=r"--data\.lr_path x: needs the originals"):
        SuperResolutionData(Procedural(), lr_path="x")
    with pytest.raises(UserError, match="must be at least 1"):
        data(folder, batch_size=0)
    with pytest.raises(UserError, match=r"at --data\.scale 1 an image is its own small version"):
        data(folder, scale=1).items("train")
    assert len(data(folder, scale=1, degradation=Noisy()).items("train")) == 6
    with pytest.raises(UserError, match="there are no train images"):
        SuperResolutionData(test=Procedural()).items("train")
    with pytest.raises(UserError, match="there are no validation images"):
        SuperResolutionData(test=Procedural()).part("validation")
    one = tmp_path_factory.mktemp("one")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(one / "a.png")
    with pytest.raises(UserError, match="holds one image; add more"):
        data(one).items("train")
    with pytest.raises(ValueError, match="part 'tset' is not one of"):
        data(folder).part("tset")


def test_processes_share_the_patches_of_one_larger_batch():
    """Lightning deals the numbers out in turn: step k of two processes is step k of one of twice the batch."""
    ranks = [DistributedSamplerWrapper(Draws(8), num_replicas=2, rank=rank, shuffle=False) for rank in (0, 1)]
    for rank in ranks:
        rank.set_epoch(1)
    dealt = [list(rank) for rank in ranks]
    assert dealt == [[8, 10, 12, 14], [9, 11, 13, 15]]
