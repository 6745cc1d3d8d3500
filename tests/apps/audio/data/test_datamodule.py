"""Batches: of the sizes asked for, the same whatever the workers and the interruption, held-out speakers unheard."""

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper

from apps.audio.data.datamodule import SeparationData
from apps.audio.data.items import Mixture
from apps.audio.data.samples import Crops, Mixed, collate
from apps.audio.data.sources import Folders, Source
from apps.audio.data.speech import Voices
from apps.audio.data.waves import write_wave
from apps.audio.mixing import Mixing
from core.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Twelve mixtures of different lengths, not in order."""
    rng = np.random.default_rng(0)
    for n in range(12):
        waves = (0.1 * rng.standard_normal((2, 300 + 100 * (5 * n % 12)))).astype(np.float32)
        for name, wave in zip(("mix", "s1", "s2"), [waves.sum(0), *waves], strict=True):
            write_wave(tmp_path / name / f"{n:02d}.wav", wave, 8000, "FLOAT")
    return tmp_path


def data(**more):
    arguments = {"train": Voices(6, 1, 0.5), "seconds": 0.1, "batch_size": 3, "steps": 4}
    return SeparationData(**(arguments | more))


def batches(module, epoch=0, seed=5, skip=0):
    torch.manual_seed(seed)
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    loader.load_state_dict({"given": skip})
    return list(loader)


def same(a, b):
    return all(torch.equal(x[key], y[key]) for x, y in zip(a, b, strict=True) for key in x)


@pytest.mark.parametrize("fixed", [False, True])
def test_batches_depend_on_seed_and_epoch_alone(folder, fixed):
    train = Folders(str(folder)) if fixed else Voices(6, 1, 0.5)
    whole = batches(data(train=train, seconds=0.03))
    assert len(whole) == 4 and whole[0]["mixture"].shape == (3, 240) and whole[0]["targets"].shape == (3, 2, 240)
    assert whole[0]["lengths"].tolist() == [240] * 3 and whole[0]["lengths"].dtype == torch.int64
    torch.testing.assert_close(whole[1]["mixture"], whole[1]["targets"].sum(1), atol=1e-6, rtol=0)
    assert same(whole[1:], batches(data(train=train, seconds=0.03), skip=1))
    for made in (batches(data(train=train, seconds=0.03), epoch=1), batches(data(train=train, seconds=0.03), seed=6)):
        assert not any(torch.equal(a["mixture"], b["mixture"]) for a, b in zip(made, whole, strict=True))


def test_workers_change_nothing():
    assert same(batches(data()), batches(data(workers=2)))


def test_ranks_divide_the_same_draws():
    """Lightning wraps the sampler; two processes see what one sees, each half of it."""
    module = data()
    torch.manual_seed(5)
    loader = module.train_dataloader()
    ranks = [list(DistributedSamplerWrapper(loader.sampler, num_replicas=2, rank=r, shuffle=False)) for r in (0, 1)]
    assert sorted(ranks[0] + ranks[1]) == list(range(12))
    drawn = [loader.dataset[n].mixture for n in range(3)]
    np.testing.assert_array_equal(np.stack(drawn), batches(module)[0]["mixture"])


def test_held_out_speakers_are_not_heard_in_training():
    module = data(train=Voices(8, 2, 0.5))
    trained = {clip.speaker for clip in module.store().clips}
    held = {clip.speaker for clip in module.items("validation")[0].source.store(8000).clips}
    assert len(trained) == 6 and len(held) == 2 and not trained & held
    assert len(module.items("validation")) == 24 and module.items("test") is module.items("validation")
    whole = data(train=Voices(8, 2, 0.5), validation=Voices(3, 1, 0.5, seed=1))
    assert len({clip.speaker for clip in whole.store().clips}) == 8 and len(whole.items("validation")) == 24
    with pytest.raises(UserError, match="has 3 speakers, too few to hold some out"):
        data(train=Voices(3)).items("validation")


def test_fixed_mixtures_are_held_out_one_by_one(folder):
    module = data(train=Folders(str(folder)))
    assert [i.name for i in module.items("validation")] == ["00", "10"] and len(module.items("train")) == 10
    both = data(train=Folders(str(folder)), validation=Folders(str(folder)))
    assert len(both.items("train")) == len(both.items("validation")) == 12


def test_whole_mixtures_one_by_one(folder):
    module = data(test=Folders(str(folder)))
    given = list(module.test_dataloader())
    assert [b["name"] for b in given] == [[f"{n:02d}"] for n in range(12)] and given[3]["index"] == [3]
    assert given[3]["mixture"].shape == (1, 600) and given[3]["targets"].shape == (1, 2, 600)
    assert given[3]["lengths"].tolist() == [600]
    # Windows of training are .1 s; what chooses the checkpoint is as long as mixtures are.
    assert all(item.seconds() == 4 for item in data().items("validation"))
    first, again = (list(data().val_dataloader())[7] for _ in range(2))
    assert torch.equal(first["targets"], again["targets"]) and first["name"] == ["mixed-007"]


def test_whole_mixtures_in_padded_batches(folder):
    module = data(test=Folders(str(folder)), evaluation_batch=5)
    given = list(module.test_dataloader())
    assert [len(b["name"]) for b in given] == [5, 5, 2]
    lengths = torch.cat([b["lengths"] for b in given])
    assert lengths.tolist() == list(range(300, 1500, 100)) and given[0]["index"] == [0, 5, 10, 3, 8]
    for batch in given:
        for n, length in enumerate(batch["lengths"].tolist()):
            alone = module.part("test")[batch["index"][n]][2]
            assert batch["mixture"][n, length:].abs().sum() == 0 and length == len(alone.mixture)
            np.testing.assert_array_equal(batch["targets"][n, :, :length], alone.targets)


def test_padding_to_the_longest():
    short, long = (Mixture(np.ones(n, np.float32), np.ones((2, n), np.float32)) for n in (3, 5))
    batch = collate([short, long])
    assert batch["lengths"].tolist() == [3, 5] and batch["mixture"].sum(1).tolist() == [3, 5]
    assert batch["targets"].sum((1, 2)).tolist() == [6, 10]


def test_windows_in_which_a_reference_is_silent_are_drawn_again(folder):
    targets = np.ones((2, 1000), np.float32)
    targets[1, :900] = 0

    class Item:
        def load(self, sample_rate):
            return Mixture(targets.sum(0), targets)

    crops = Crops([Item()], 150, 8000)
    assert all(crops[n].targets[1].any() for n in range(30))
    targets[1] = 0
    with pytest.raises(UserError, match="a reference is silent"):
        crops[0]


def test_first_line_of_a_run(folder):
    assert data(test=Folders(str(folder))).describe() == (
        "built-in voices, 4 speakers, 0 min, windows of 0.1 s, 8000 Hz; validation 24, test 12 mixtures"
    )
    fixed = data(train=Folders(str(folder)))
    assert fixed.describe().startswith(f"{folder.name}, 10 mixtures, windows of 0.1 s") and fixed.label == folder.name
    files = SeparationData(files=["a.wav"], sample_rate=16000)
    assert files.describe() == "1 files or folders, 16000 Hz" and files.label == "your files"
    assert data(test=Mixed(Voices(2), 3, 0.2)).describe().endswith("test 3 mixtures")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"train": None}, "name speech with --data.train, or recordings with --data.files"),
        ({"speakers": 0}, "must be at least 1"),
        ({"mixing": Mixing(3)}, r"--data.mixing.speakers 3: --data.speakers is 2"),
    ],
)
def test_what_cannot_be_asked_for(wrong, match):
    with pytest.raises(UserError, match=match):
        data(**wrong)


def test_parts_that_are_not_there(folder):
    module = SeparationData(test=Folders(str(folder)), speakers=3)
    with pytest.raises(UserError, match=r"00: has 2 speakers, --data\.speakers is 3"):
        module.part("test")[0]
    with pytest.raises(UserError, match="there is nothing to train on"):
        module.train_dataloader()
    with pytest.raises(UserError, match="there are no validation mixtures"):
        module.items("validation")
    with pytest.raises(UserError, match="Source is neither speech nor mixtures"):
        data(train=Source()).items("train")
    with pytest.raises(ValueError, match="not one of train, validation, test"):
        data().items("dev")


class Recorder(pl.LightningModule):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.weight, self.given = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, batch, batch_idx):
        self.given.append(batch["mixture"])
        return self.weight * batch["mixture"].mean()

    def validation_step(self, batch, batch_idx):
        assert batch["targets"].shape == (1, 2, 32000)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_draws_other_mixtures_in_every_epoch():
    torch.manual_seed(5)
    recorder = Recorder()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "num_sanity_val_steps": 0}
    pl.Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **quiet).fit(recorder, data())
    expected = batches(data()) + batches(data(), epoch=1)
    assert all(torch.equal(a, b["mixture"]) for a, b in zip(recorder.given, expected, strict=True))
