"""Folders of small and large images: what fits together, and what is wrong in one sentence."""

import warnings

import numpy as np
import pytest
from PIL import Image

from apps.vision.superres.data.pairs import FileItem, check_kernel, list_images, make_pair, match, shrink
from apps.vision.superres.resize import resize
from core.errors import UserError

RANDOM = np.random.default_rng(0)


def image(height, width):
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(folder, name, pixels):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


def test_images_are_listed_by_name_in_folders_below_too(tmp_path):
    for name in ("b.png", "a.JPG", ".hidden.png"):
        save(tmp_path, name, image(4, 4))
    save(tmp_path / "sub", "c.webp", image(4, 4))
    (tmp_path / "notes.txt").write_text("x")
    assert [str(p.relative_to(tmp_path)) for p in list_images(tmp_path)] == ["a.JPG", "b.png", "sub/c.webp"]
    with pytest.raises(UserError, match="no such folder; name a folder of images"):
        list_images(tmp_path / "none")
    with pytest.raises(UserError, match="is a file"):
        list_images(tmp_path / "b.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no images; put \.png"):
        list_images(tmp_path / "empty")


@pytest.mark.parametrize("small", ["{}.png", "{}x4.png", "{}_x4.png", "{}-x4.png", "{}x4m.jpg", "{}X4.png"])
def test_names_of_small_images(tmp_path, small):
    for stem in ("0001", "box2"):
        save(tmp_path / "hr", f"{stem}.png", image(8, 8))
        save(tmp_path / "lr", small.format(stem), image(2, 2))
    found = match(tmp_path / "hr", tmp_path / "lr", 4)
    assert [(i.name, i.lr_path.name) for i in found] == [(s, small.format(s)) for s in ("0001", "box2")]


def test_names_that_say_hr_and_lr(tmp_path):
    save(tmp_path / "hr", "img_001_SRF_4_HR.png", image(8, 8))
    save(tmp_path / "lr", "img_001_SRF_4_LR.png", image(2, 2))
    assert match(tmp_path / "hr", tmp_path / "lr", 4)[0].lr_path.name == "img_001_SRF_4_LR.png"


def test_files_without_a_partner_or_with_two(tmp_path):
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    save(hr, "a.png", image(8, 8))
    save(lr, "b.png", image(4, 4))
    with pytest.raises(UserError, match=r"a\.png: has no partner in .*lr; expected a\.png or ax2\.png"):
        match(hr, lr, 2)
    save(lr, "a.png", image(4, 4))
    with pytest.raises(UserError, match=r"b\.png: has no large image in .*hr \(1 such files\)"):
        match(hr, lr, 2)
    (lr / "b.png").unlink()
    save(lr, "ax2.png", image(4, 4))
    with pytest.raises(UserError, match=r"a\.png: has two partners, a\.png and ax2\.png"):
        match(hr, lr, 2)
    (lr / "ax2.png").unlink()
    save(hr, "a.bmp", image(8, 8))
    with pytest.raises(UserError, match="two large images belong to one file"):
        match(hr, lr, 2)


def test_the_small_image_is_made_from_the_cropped_large_one(tmp_path):
    pixels = image(19, 14)
    pair = make_pair(FileItem("a", save(tmp_path, "a.png", pixels)), 4)
    assert pair.hr.shape == (16, 12, 3) and (pair.hr == pixels[:16, :12]).all() and not pair.gray
    np.testing.assert_array_equal(pair.lr, resize(pixels[:16, :12], scale=0.25))
    gray = make_pair(FileItem("g", save(tmp_path, "g.png", pixels[..., 0])), 2)
    assert gray.gray and gray.lr.shape == (9, 7, 3)
    np.testing.assert_array_equal(gray.lr, resize(np.repeat(pixels[:18, :, :1], 3, 2), scale=0.5))
    assert make_pair(FileItem("a", tmp_path / "a.png"), 1).lr.shape == (19, 14, 3)


def test_16_bit_and_alpha_are_taken_as_8_bit_colour(tmp_path):
    import cv2

    deep = RANDOM.integers(0, 65536, (6, 8, 4), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    pair = make_pair(FileItem("a", tmp_path / "a.png"), 2)
    np.testing.assert_array_equal(pair.hr, np.round(deep[..., 2::-1] / 257).astype(np.uint8))


def test_sizes_that_do_not_fit_name_both_files_both_sizes_and_the_scale(tmp_path):
    large, small = save(tmp_path / "hr", "a.png", image(20, 31)), save(tmp_path / "lr", "a.png", image(10, 15))
    pair = make_pair(FileItem("a", large, small), 2)
    assert pair.hr.shape == (20, 30, 3) and pair.lr.shape == (10, 15, 3)
    with pytest.raises(UserError) as caught:
        make_pair(FileItem("a", large, small), 4)
    for part in (str(large), str(small), "15x10", "31x20", "scale 4", "7x5"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="a: its 3x2 pixels are fewer than the scale 4"):
        make_pair(FileItem("a", save(tmp_path, "tiny.png", image(2, 3))), 4)


def test_another_kernel_is_noticed_once(tmp_path):
    items = []
    for n in range(4):
        pixels = image(24, 24)
        large = save(tmp_path / "hr", f"{n}.png", pixels)
        near = np.asarray(Image.fromarray(pixels).resize((6, 6), Image.Resampling.NEAREST))
        items.append(FileItem(str(n), large, save(tmp_path / "lr", f"{n}.png", near)))
    with pytest.warns(UserWarning, match=r"0\.png: differs by \d+\.\d levels .* MATLAB's bicubic") as caught:
        check_kernel(items, 4)
    assert len(caught) == 1
    for n, item in enumerate(items):
        save(tmp_path / "lr", f"{n}.png", shrink(np.asarray(Image.open(item.path)), 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_kernel(items, 4)
        check_kernel(items, 1)
