"""What people hand over by mistake: one sentence with file, value and what to do; and small things that must work."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from apps.vision.segmentation.data.camvid import CamVid
from apps.vision.segmentation.data.coco_panoptic import CocoPanoptic, evaluate_files
from apps.vision.segmentation.data.datamodule import SegmentationData
from apps.vision.segmentation.data.folders import Folder, read_classes
from apps.vision.segmentation.data.images import read_image
from apps.vision.segmentation.data.masks import packed, read_mask, write_mask
from apps.vision.segmentation.data.transforms import Augmentation
from apps.vision.segmentation.inference import Windows, class_map
from apps.vision.segmentation.losses import CrossEntropy, Dice, Ohem
from apps.vision.segmentation.metrics.confusion import Confusion
from core.errors import UserError


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two pairs of 4 x 6 pixels and two classes."""
    for name in "ab":
        save(tmp_path / f"images/{name}.png", np.full((4, 6, 3), 80, np.uint8))
        save(tmp_path / f"masks/{name}.png", np.eye(4, 6, dtype=np.uint8))
    (tmp_path / "classes.txt").write_text("background\nthing\n")
    return tmp_path


def loaded(folder):
    return [item.load() for item in Folder(str(folder)).items()]


def test_a_class_out_of_range(folder):
    save(folder / "masks/b.png", np.array([[0, 1, 7, 7, 0, 0]] * 4, np.uint8))
    with pytest.raises(UserError, match=r"b\.png: 8 pixels have the value 7; classes are 0 to 1, ignored is \[255\]"):
        loaded(folder)


def test_a_black_and_white_mask_of_255_is_not_taken_for_void_in_silence(folder):
    """255 is ignored by default, so such masks have one class; counting says that the other never occurs."""
    for name in "ab":
        save(folder / f"masks/{name}.png", 255 * np.eye(4, 6, dtype=np.uint8))
    data = SegmentationData(path=str(folder), crop=None)
    assert data.counts("validation", show=list).never(data.classes) == ["thing"]
    # The class list says what they mean.
    (folder / "classes.yaml").write_text(
        "classes: [{name: background, value: 0}, {name: thing, value: 255}]\nignore: []\n"
    )
    assert loaded(folder)[0].labels.unique().tolist() == [0, 1]


def test_masks_numbered_from_one(folder):
    save(folder / "masks/a.png", 1 + np.eye(4, 6, dtype=np.uint8))
    with pytest.raises(UserError, match=r"a\.png: 4 pixels have the value 2"):
        loaded(folder)


def test_another_size(folder):
    save(folder / "masks/a.png", np.zeros((4, 5), np.uint8))
    with pytest.raises(UserError, match=r"a\.png: has 5x4 pixels, its image a\.png 6x4; masks must have the size"):
        loaded(folder)
    save(folder / "masks/a.png", np.zeros((6, 4), np.uint8))
    with pytest.raises(UserError, match="turned by its EXIF orientation"):
        loaded(folder)


@pytest.mark.parametrize("kind", ["L", "LA", "RGBA", "1", "P", "I;16"])
def test_images_of_any_kind_are_three_channels(folder, kind):
    if kind == "I;16":
        image = Image.fromarray(np.full((4, 6), 40_000, np.uint16))
    else:
        image = Image.new("RGBA", (6, 4), (156, 156, 156, 9)).convert("RGB" if kind == "P" else kind)
        image = image.convert("P") if kind == "P" else image
    image.save(folder / "images/a.png")
    scene = loaded(folder)[0]
    assert scene.image.shape == (3, 4, 6) and scene.image.dtype == torch.uint8
    if kind not in ("1", "P"):
        assert scene.image.unique().tolist() == [156]


def test_palettes_are_read_as_numbers(folder):
    write_mask(folder / "masks/a.png", np.eye(4, 6, dtype=np.uint8), ((9, 9, 9), (200, 0, 0)))
    assert loaded(folder)[0].labels.tolist() == np.eye(4, 6).tolist()
    # The same file saved as colours is refused, not guessed at.
    Image.open(folder / "masks/a.png").convert("RGB").save(folder / "masks/a.png")
    with pytest.raises(UserError, match=r"a\.png: its pixels are colours; give each class its `colour`"):
        loaded(folder)
    with pytest.raises(UserError, match="RGB colours, not class numbers"):
        read_mask(folder / "masks/a.png")


def test_a_colour_that_no_class_has(folder):
    (folder / "classes.yaml").write_text("classes: [{name: a, colour: [0, 0, 0]}, {name: b, colour: [200, 0, 0]}]")
    save(folder / "masks/a.png", np.array([[(0, 0, 0), (200, 0, 1)] * 3] * 4, np.uint8))
    with pytest.raises(UserError, match=r"a\.png: 12 pixels have the colours \(200, 0, 1\)"):
        loaded(folder)


def test_jpeg_masks(folder):
    (folder / "masks/a.png").unlink()
    save(folder / "masks/a.jpg", np.eye(4, 6, dtype=np.uint8))
    with pytest.raises(UserError, match=r"a\.jpg: is a JPEG, whose compression changes class numbers"):
        loaded(folder)
    # Whatever the ending says.
    (folder / "masks/a.jpg").rename(folder / "masks/a.png")
    with pytest.raises(UserError, match="is a JPEG"):
        loaded(folder)


def test_missing_files(folder):
    (folder / "masks/b.png").unlink()
    with pytest.raises(UserError, match=r"b\.png: has no mask named b"):
        loaded(folder)
    (folder / "train.txt").write_text("a\nc\n")
    with pytest.raises(UserError, match=r"images/c: not found with any of"):
        Folder(str(folder), part="train").items()
    with pytest.raises(UserError, match="name a folder with images and masks"):
        SegmentationData(path=str(folder / "nothing")).part("train")
    with pytest.raises(UserError, match=r"x\.png: not found"):
        read_image(folder / "x.png")


def test_empty_lists_and_folders(folder):
    (folder / "train.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"train\.txt: is empty"):
        Folder(str(folder), part="train").items()
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="images: holds no image"):
        Folder(str(folder)).items()
    (folder / "camvid").mkdir()
    (folder / "camvid/test.txt").touch()
    with pytest.raises(UserError, match=r"test\.txt: is empty"):
        CamVid("test", str(folder / "camvid")).items()
    with pytest.raises(UserError, match="no part 'tests'"):
        CamVid("tests")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 20])
def test_broken_files(folder, content):
    (folder / "masks/a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png: is (not an image|broken)"):
        loaded(folder)
    whole = (folder / "images/b.png").read_bytes()
    (folder / "images/b.png").write_bytes(whole[: len(whole) // 2 + 10])
    with pytest.raises(UserError, match=r"b\.png: is broken"):
        read_image(folder / "images/b.png")


def test_a_set_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIMIX_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"camvid: not found; download CamVid of https.*OMNIMIX_DATA"):
        CamVid().items()
    with pytest.raises(UserError, match="not found; download panoptic_annotations"):
        CocoPanoptic().items()


@pytest.mark.parametrize(
    "text, said",
    [
        ("[]", "lists 0 classes"),
        ("- a\n- a\n", "two classes have the name a"),
        ("- {name: a, value: 1}\n- {name: b, value: 1}\n", "two classes have the value 1"),
        ("classes: [a]\nignore: [0]\n", "value 0 is a class and ignored"),
        ("classes: [a]\nignored: [0]\n", "the key 'ignored'.*Did you mean ignore"),
        ("- {nome: a}\n", "class 0 is"),
        ("- {name: a, colour: [1, 2]}\n", "is no colour"),
        ("- {name: a, colour: [1, 2, 3]}\n- b\n", "1 of 2 classes have a colour"),
        ("- {name: a, value: -1}\n", "-1 is no value of a mask"),
        ("classes: 3\n", "needs a list under `classes`"),
        ("a: [", "is no YAML"),
    ],
)
def test_class_lists(tmp_path, text, said):
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        read_classes(tmp_path / "classes.yaml")


def test_panoptic_files_that_do_not_belong_together(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json: is no JSON"):
        evaluate_files(tmp_path / "a.json", tmp_path / "b.json")
    (tmp_path / "a.json").write_text('{"annotations": []}')
    with pytest.raises(UserError, match="has no 'categories'"):
        evaluate_files(tmp_path / "a.json", tmp_path / "b.json")
    save(tmp_path / "gray.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(UserError, match="where colours are needed"):
        packed(tmp_path / "gray.png")


def test_one_pixel(folder):
    for name in "ab":
        save(folder / f"images/{name}.png", np.full((1, 1, 3), 80, np.uint8))
        save(folder / f"masks/{name}.png", np.ones((1, 1), np.uint8))
    data = SegmentationData(path=str(folder), crop=(8, 8), augmentation=Augmentation(), batch_size=2)
    (batch,) = list(data.train_dataloader())
    assert batch["image"].shape == (2, 3, 8, 8) and set(batch["labels"].unique().tolist()) == {1, 255}
    (whole,) = list(data.val_dataloader())
    network = nn.Conv2d(3, 2, 3, padding=1)
    for windows in (None, Windows((4, 4), (2, 2))):
        assert class_map(network, whole["image"], windows, scales=(0.5, 2.0), flip=True).shape == (1, 1)


def test_a_mask_of_void_alone(folder):
    for name in "ab":
        save(folder / f"masks/{name}.png", np.full((4, 6), 255, np.uint8))
    data = SegmentationData(path=str(folder), crop=None, batch_size=1)
    (batch,) = list(data.train_dataloader())
    logits = torch.randn(1, 2, 4, 6, requires_grad=True)
    total = sum(loss(logits, batch["labels"]) for loss in (CrossEntropy(), Ohem(), Dice()))
    total.backward()
    assert total == 0 and not logits.grad.any()
    metric = Confusion(2)
    metric.update(batch["labels"], logits.argmax(1))
    assert metric.matrix.sum() == 0


def test_one_image_cannot_be_split(folder):
    for path in (folder / "images/b.png", folder / "masks/b.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"holds one image; add more, or name --data\.validation"):
        SegmentationData(path=str(folder)).part("train")


def test_arguments():
    with pytest.raises(UserError, match=r"name a folder with --data\.path"):
        SegmentationData()
    with pytest.raises(UserError, match="batch_size 0"):
        SegmentationData(files=["a.png"], batch_size=0)
    with pytest.raises(UserError, match="sides must be at least 1"):
        SegmentationData(files=["a.png"], crop=(0, 5))
    with pytest.raises(UserError, match="scale"):
        Augmentation(scale=(2.0, 1.0))
    with pytest.raises(UserError, match="hue"):
        Augmentation(hue=0.7)


def test_files_to_predict_need_no_truth(folder):
    data = SegmentationData(files=[str(folder / "images"), str(folder / "images/a.png")])
    batches = list(data.predict_dataloader())
    assert [batch["name"] for batch in batches] == [["a"], ["b"], ["a"]]
    assert data.describe() == "2 files or folders" and data.classes == ()
    with pytest.raises(UserError, match="there are no train images"):
        data.part("train")


def test_what_a_checkpoint_was_trained_on_need_not_be_there_for_prediction(folder):
    missing = Folder(str(folder / "moved"))
    own = {"files": [str(folder / "images")]}
    for data in (SegmentationData(path="moved", **own), SegmentationData(missing, CocoPanoptic(path="moved"), **own)):
        assert data.classes == () and len(data.part("files")) == 2
