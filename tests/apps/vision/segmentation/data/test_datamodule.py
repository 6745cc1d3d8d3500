"""Image and truth move together; samples depend on seed and number; batches are what `items` says."""

import numpy as np
import pytest
import torch

from apps.vision.segmentation.data.datamodule import SegmentationData
from apps.vision.segmentation.data.items import Scene, collate, matched
from apps.vision.segmentation.data.scenes import StreetScenes
from apps.vision.segmentation.data.transforms import MEAN, Augmentation, cropped, listed, resized
from core.errors import UserError

TINY = (24, 32)


def marked(height=12, width=16):
    """A scene whose image says what its labels are."""
    labels = torch.randint(0, 5, (height // 4, width // 4)).repeat_interleave(4, 0).repeat_interleave(4, 1)
    return Scene((labels * 40)[None].expand(3, -1, -1).to(torch.uint8), labels.to(torch.uint8))


@pytest.mark.parametrize("seed", range(6))
def test_image_and_labels_stay_together(seed):
    torch.manual_seed(seed)
    augmentation = Augmentation(scale=(1.0, 3.0), brightness=0, contrast=0, saturation=0)
    found = augmentation(marked(), np.random.default_rng(seed), (12, 16))
    assert found.image.shape == (3, 12, 16) and found.labels.shape == (12, 16)
    # Inside of cells there is no blur, so the image still says the label.
    same = (found.image[0].float() / 40).round() == found.labels
    exact = found.image[0] % 40 == 0
    assert same[exact].float().mean() > 0.97 and exact.float().mean() > 0.4


def test_resizing_does_not_move_the_truth():
    row = torch.arange(9, dtype=torch.uint8)
    scene = Scene(row.expand(3, 9, 9).contiguous(), row.expand(9, 9).contiguous())
    assert resized(scene, (3, 3)).labels[0].tolist() == [1, 4, 7]
    mirrored = scene._replace(labels=scene.labels.flip(1))
    for size in (3, 5, 7, 11):
        assert torch.equal(resized(scene, (size, size)).labels.flip(1), resized(mirrored, (size, size)).labels)


def test_labels_are_never_interpolated():
    scene = Scene(
        torch.zeros(3, 9, 9, dtype=torch.uint8), torch.tensor([0, 200], dtype=torch.uint8)[torch.eye(9).long()]
    )
    for size in ((5, 7), (20, 13)):
        assert set(resized(scene, size).labels.unique().tolist()) <= {0, 200}


def test_padding_is_void():
    scene = marked()._replace(segments=torch.zeros(12, 16, dtype=torch.int32), kinds=torch.tensor([3]))
    found = Augmentation(scale=(0.5, 0.5), flip=0, brightness=0, contrast=0, saturation=0)(
        scene, np.random.default_rng(0), (12, 16)
    )
    assert (found.labels[6:] == 255).all() and (found.labels[:, 8:] == 255).all() and (found.labels[:6, :8] < 5).all()
    assert (found.segments[6:] == -1).all() and (found.segments[:6, :8] == 0).all()
    assert found.image[:, -1, -1].tolist() == list(MEAN)
    assert cropped(scene, 8, 12, (8, 8)).labels[4:].unique().tolist() == [255]


def test_flips_mirror_both():
    scene = marked()
    augmentation = Augmentation((1, 1), flip=1.0, brightness=0, contrast=0, saturation=0)
    found = augmentation(scene, np.random.default_rng(0), None)
    assert torch.equal(found.image, scene.image.flip(2)) and torch.equal(found.labels, scene.labels.flip(1))


def test_colours_change_the_image_alone():
    scene = StreetScenes(1, TINY).items()[0].load()
    augmentation = Augmentation((1, 1), flip=0.0, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2)
    found = [augmentation(scene, np.random.default_rng(n), None) for n in range(4)]
    assert any(not torch.equal(f.image, scene.image) for f in found)
    assert all(torch.equal(f.segments, scene.segments) and f.image.dtype == torch.uint8 for f in found)


def test_training_drops_crowds_and_what_a_crop_left_out():
    segments = torch.tensor([[0, 0, 2], [3, -1, 2]], dtype=torch.int32)
    crowd = torch.tensor([True, False, False, False])
    scene = Scene(torch.zeros(3, 2, 3, dtype=torch.uint8), None, segments, torch.tensor([5, 6, 7, 8]), crowd)
    found = listed(scene)
    assert found.segments.tolist() == [[-1, -1, 0], [1, -1, 0]] and found.kinds.tolist() == [7, 8]
    assert not found.crowd.any() and len(found.crowd) == 2


@pytest.fixture
def data():
    return SegmentationData(
        train=StreetScenes(12, TINY),
        test=StreetScenes(3, TINY, seed=1),
        crop=(16, 16),
        augmentation=Augmentation(),
        batch_size=4,
    )


def test_batches(data):
    torch.manual_seed(0)
    batches = list(data.train_dataloader())
    assert len(batches) == data.steps == 3
    for batch in batches:
        assert batch["image"].shape == (4, 3, 16, 16) and batch["image"].dtype == torch.float32
        assert batch["image"].min() >= 0 and batch["image"].max() <= 1
        assert batch["labels"].shape == (4, 16, 16) and batch["labels"].dtype == torch.int64
        for segments, kinds, labels in zip(batch["segments"], batch["kinds"], batch["labels"], strict=True):
            inside = segments >= 0
            assert torch.equal(kinds[segments[inside]], labels[inside]) and (labels[~inside] == 255).all()
            assert segments.max() < len(kinds)
    (whole,) = [batch for batch in data.test_dataloader() if batch["index"] == [2]]
    assert whole["image"].shape == (1, 3, *TINY) and whole["name"] == ["street_1_00002"]


def test_parts_do_not_overlap_and_all_is_seen(data):
    train, held = ({item.name for item in data.part(name).items} for name in ("train", "validation"))
    assert len(train) == 10 and len(held) == 2 and not train & held
    training = data.training(5)
    assert sorted(training[n][0] for n in range(10)) == list(range(10))
    assert [training[n][0] for n in range(10)] != [training[n][0] for n in range(10, 20)]


def test_a_sample_is_a_function_of_seed_and_number(data):
    one, other = data.training(5), data.training(5)
    other[3], other[11]
    assert torch.equal(one[7][1].image, other[7][1].image)
    assert not torch.equal(one[7][1].image, data.training(6)[7][1].image)


def test_an_epoch_goes_on_where_it_stopped(data):
    def images(loader):
        loader.sampler.set_epoch(2)
        return loader, [batch["image"] for batch in loader]

    torch.manual_seed(0)
    _, whole = images(data.train_dataloader())
    stopped = data.train_dataloader()
    stopped.sampler.set_epoch(2)
    iterator = iter(stopped)
    next(iterator)
    state = stopped.state_dict()
    resumed = data.train_dataloader()
    resumed.load_state_dict(state)
    _, rest = images(resumed)
    assert len(rest) == len(whole) - 1 and all(torch.equal(a, b) for a, b in zip(rest, whole[1:], strict=True))


def test_few_images_still_fill_batches():
    data = SegmentationData(train=StreetScenes(3, TINY), crop=None, batch_size=4)
    (batch,) = list(data.train_dataloader())
    assert batch["image"].shape == (4, 3, *TINY)


def test_facts(data):
    assert data.ignore == 255 and data.things == (6, 8, 9) and len(data.classes) == len(data.palette) == 10
    assert data.describe() == "street scenes 24x32, 10 images; validation 2, test 3 images; 10 classes"
    counts = data.counts("train", show=lambda x: x)
    assert counts.images == 10 and counts.pixels.sum() + counts.void == 10 * 24 * 32


def test_sources_must_agree(tmp_path):
    class Other(StreetScenes):
        classes = ("a", "b")

    with pytest.raises(UserError, match=r"has 10 classes .* 2 \(a, b\); they must be the same"):
        SegmentationData(train=StreetScenes(2, TINY), test=Other(2, TINY))


def test_pairs_are_by_name(tmp_path):
    a, b = tmp_path / "a.jpg", tmp_path / "b.jpg"
    masks = [tmp_path / "m" / "b_L.png", tmp_path / "m" / "a_L.png"]
    assert [(n, m.name) for n, _, m in matched([a, b], masks, "_L")] == [("a", "a_L.png"), ("b", "b_L.png")]
    with pytest.raises(UserError, match=r"b\.jpg: has no mask named b_L"):
        matched([a, b], masks[1:], "_L")
    with pytest.raises(UserError, match=r"b_L\.png: has no image named b"):
        matched([a], masks, "_L")


def test_sizes_differ():
    with pytest.raises(UserError, match="sizes 8x8, 12x16 make no batch; give a crop"):
        collate([(0, marked()), (1, marked(8, 8))])
