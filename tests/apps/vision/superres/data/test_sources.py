"""Public sets in the shapes people have them, the built-in drawings, and the real files where they are."""

import numpy as np
import pytest
from PIL import Image

from apps.vision.superres.bicubic import bicubic_rgb
from apps.vision.superres.data import sources
from apps.vision.superres.data.generator import procedural_image
from apps.vision.superres.data.pairs import make_pair
from apps.vision.superres.data.public import data_folder
from apps.vision.superres.metrics import average
from core.errors import UserError


def fill(folder, names, side=16):
    folder.mkdir(parents=True)
    for name in names:
        Image.fromarray(np.full((side, side, 3), 9, np.uint8)).save(folder / f"{name}.png")


def test_own_folders(tmp_path):
    fill(tmp_path / "mine", "ab")
    source = sources.Images(str(tmp_path / "mine"))
    assert source.label == "mine" and [i.name for i in source.items(2)] == ["a", "b"]
    fill(tmp_path / "small", ["ax2", "bx2"], 8)
    paired = sources.Images(str(tmp_path / "mine"), str(tmp_path / "small")).items(2)
    assert [i.small().shape for i in paired] == [(8, 8, 3)] * 2


@pytest.mark.parametrize("below", ["hr", "HR", "GTmod12", ""])
def test_a_benchmark_in_any_of_its_usual_shapes(tmp_path, monkeypatch, below):
    monkeypatch.setenv("OMNIMIX_DATA", str(tmp_path))
    fill(tmp_path / "superres" / "set5" / below, "abcde")
    assert sources.Set5().label == "Set5" and len(sources.Set5().items(3)) == 5
    assert sources.Set5().items(3)[0].small() is None


def test_stored_small_images_are_used_and_missing_images_are_said(tmp_path):
    fill(tmp_path / "hr", "abc")
    fill(tmp_path / "lr_x4", "abc", 4)
    source = sources.Set14(str(tmp_path))
    assert source.label == "Set14 (3 of 14 images)"
    assert source.items(4)[1].small().shape == (4, 4, 3) and source.items(2)[1].small() is None
    fill(tmp_path / "div" / "DIV2K_train_HR", ["0001", "0002"])
    fill(tmp_path / "div" / "DIV2K_train_LR_bicubic" / "X2", ["0001x2", "0002x2"], 8)
    both = sources.Several([sources.DIV2K(str(tmp_path / "div")), source])
    assert both.label == "DIV2K (2 of 800 images) + Set14 (3 of 14 images)"
    assert [i.name for i in both.items(2)] == ["0001", "0002", "a", "b", "c"]
    assert both.items(2)[0].small().shape == (8, 8, 3)


@pytest.mark.parametrize("name", ["Set5", "Set14", "BSD100", "Urban100", "Manga109", "T91"])
def test_a_missing_set_says_where_to_get_it(tmp_path, monkeypatch, name):
    monkeypatch.setenv("OMNIMIX_DATA", str(tmp_path))
    source = getattr(sources, name)()
    assert source.label == name
    with pytest.raises(UserError, match=r"superres/\w+: not found; download .* OMNIMIX_DATA\.$"):
        source.items(4)


def test_missing_training_sets_and_errors(tmp_path):
    for name in ("DIV2K", "DIV2KValidation", "Flickr2K"):
        with pytest.raises(UserError, match=r"not found; download .*http.*_HR, or name"):
            getattr(sources, name)(str(tmp_path)).items(2)
    with pytest.raises(UserError, match="at least one source"):
        sources.Several([])
    with pytest.raises(UserError, match="count >= 1 and size >= 16"):
        sources.Procedural(size=4)


def test_drawings_depend_on_seed_and_number_alone():
    items = sources.Procedural(count=4, size=48, seed=3).items(4)
    first = [i.original()[0] for i in items]
    again = [i.original()[0] for i in reversed(items)][::-1]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert first[0].shape == (48, 48, 3) and first[0].dtype == np.uint8 and items[0].size() == (48, 48)
    assert len({x.tobytes() for x in first} | {procedural_image(4, 0, 48).tobytes()}) == 5
    assert len({i.name for i in items}) == 4


def test_drawings_are_neither_flat_nor_noise():
    images = [procedural_image(0, n, 96) for n in range(6)]
    score = average(bicubic_rgb(x, 4) for x in images)
    assert 20 < score.psnr < 30 and 0.5 < score.ssim < 0.9
    assert min(x.std() for x in images) > 15


COUNTS = {"set5": 5, "set14": 14, "bsd": 4, "t91": 91}


@pytest.mark.parametrize(("name", "source"), [("set5", sources.Set5), ("set14", sources.Set14), ("t91", sources.T91)])
def test_the_real_files(name, source):
    if not data_folder(name).is_dir():
        pytest.skip(f"{data_folder(name)} is missing; set OMNIMIX_DATA to the folder of public data")
    items = source().items(4)
    assert source().label in ("Set5", "Set14", "T91") and len(items) == COUNTS[name]
    pair = make_pair(items[2], 4)
    assert pair.gray == (name == "set14") and pair.hr.shape[0] == 4 * pair.lr.shape[0]
