"""Where a data module takes its images from: folders of your own, public sets, the built-in generator.

A source is named in YAML by `class_path`. Public sets lie in `superres/<name>` below $OMNIMIX_DATA or `data`, as their
archives unpack; small images that come with them are used, missing ones are made by MATLAB's bicubic, which gives the
same bytes.
"""

__all__ = [
    "BSD100",
    "DIV2K",
    "T91",
    "DIV2KValidation",
    "Flickr2K",
    "Images",
    "Manga109",
    "Procedural",
    "Set5",
    "Set14",
    "Several",
    "Shrunk",
    "Source",
    "Urban100",
]

from pathlib import Path

from apps.vision.superres.resize import resize
from core.errors import UserError

from .generator import procedural_image
from .pairs import FileItem, Item, Pixels, check_kernel, list_images, match
from .public import data_folder, first_folder


class Source:
    """Base class: `items(scale)` lists the images."""

    label = "images"

    def items(self, scale: int) -> list[Item]:
        """One entry an image, in a fixed order; small images of this scale come with it where there are any."""
        raise TypeError(f"{type(self).__name__} must define items")


class Images(Source):
    """A folder of your own, and one with the small images if you have them.

    Args:
        path: folder of the originals.
        lr: folder of the small images, named like the originals or with x4 at the end.
    """

    def __init__(self, path: str, lr: str | None = None):
        self.path, self.lr = path, lr
        self.label = Path(path).name or str(path)

    def items(self, scale: int) -> list[Item]:
        if self.lr is None:
            folder = Path(self.path)
            return [FileItem(str(p.relative_to(folder).with_suffix("")), p) for p in list_images(folder)]
        items = match(self.path, self.lr, scale)
        check_kernel(items, scale)
        return list(items)


class Public(Source):
    """A public set: which folders its archive unpacks to, how many images it has, where to get it.

    Args:
        path: folder of the set; `superres/<name>` below $OMNIMIX_DATA or `data` by default.
    """

    name = ""
    title = ""
    count = 0
    record = ""
    originals: tuple[str, ...] = ("hr", "HR", "GTmod12", "original", "")
    small: tuple[str, ...] = ("lr_x{}", "LR_bicubic/X{}", "LRbicx{}")

    def __init__(self, path: str | None = None):
        self.path = data_folder(self.name, path)

    @property
    def label(self) -> str:  # type: ignore[override]
        """The set's name; says so if images are missing."""
        try:
            found = len(self.files())
        except UserError:
            return self.title
        return self.title if found == self.count else f"{self.title} ({found} of {self.count} images)"

    def files(self) -> list[Path]:
        """The originals."""
        return list_images(first_folder(self.path, self.originals, self.record))

    def items(self, scale: int) -> list[Item]:
        for pattern in self.small:
            folder = self.path / pattern.format(scale)
            if folder.is_dir():
                return list(match(first_folder(self.path, self.originals, self.record), folder, scale))
        return [FileItem(path.stem, path) for path in self.files()]


class Set5(Public):
    """Five images, the oldest benchmark (Bevilacqua et al. 2012)."""

    name, title, count = "set5", "Set5", 5
    record = "Set5 (in the test sets of https://github.com/JingyunLiang/SwinIR or any super-resolution release)"


class Set14(Public):
    """Fourteen images, one of them gray (Zeyde et al. 2010)."""

    name, title, count = "set14", "Set14", 14
    record = "Set14 (in https://github.com/jbhuang0604/SelfExSR)"


class BSD100(Public):
    """The 100 test images of the Berkeley segmentation set (Martin et al. 2001), also called B100."""

    name, title, count = "bsd", "BSD100", 100
    record = "BSD100 (in https://github.com/jbhuang0604/SelfExSR)"


class Urban100(Public):
    """100 pictures of buildings (Huang et al. 2015)."""

    name, title, count = "urban100", "Urban100", 100
    record = "Urban100 (https://github.com/jbhuang0604/SelfExSR)"


class Manga109(Public):
    """109 covers of comics (Matsui et al. 2015)."""

    name, title, count = "manga109", "Manga109", 109
    record = "Manga109 (on request at http://www.manga109.org)"


class T91(Public):
    """The 91 small training images of Yang et al. 2010."""

    name, title, count = "t91", "T91", 91
    record = "the 91 images of Yang et al. (in https://github.com/jiny2001/dcscn-super-resolution, data/yang91)"
    originals = ("",)


class DIV2K(Public):
    """800 training images of 2K pixels (Agustsson & Timofte 2017)."""

    name, title, count = "div2k", "DIV2K", 800
    record = "DIV2K_train_HR.zip (https://data.vision.ee.ethz.ch/cvl/DIV2K)"
    originals = ("DIV2K_train_HR",)
    small = ("DIV2K_train_LR_bicubic/X{}",)


class DIV2KValidation(Public):
    """The 100 validation images of DIV2K."""

    name, title, count = "div2k", "DIV2K validation", 100
    record = "DIV2K_valid_HR.zip (https://data.vision.ee.ethz.ch/cvl/DIV2K)"
    originals = ("DIV2K_valid_HR",)
    small = ("DIV2K_valid_LR_bicubic/X{}",)


class Flickr2K(Public):
    """2650 training images of 2K pixels (Lim et al. 2017); with DIV2K it is called DF2K."""

    name, title, count = "flickr2k", "Flickr2K", 2650
    record = "Flickr2K (https://github.com/limbee/NTIRE2017)"
    originals = ("Flickr2K_HR",)
    small = ("Flickr2K_LR_bicubic/X{}",)


class Several(Source):
    """The images of several sources one after the other, such as DIV2K and Flickr2K.

    Args:
        sources: at least one.
    """

    def __init__(self, sources: list[Source]):
        if not sources:
            raise UserError("--data: Several needs at least one source; list them under `sources`.")
        self.sources = sources

    @property
    def label(self) -> str:  # type: ignore[override]
        """All names."""
        return " + ".join(source.label for source in self.sources)

    def items(self, scale: int) -> list[Item]:
        return [item for source in self.sources for item in source.items(scale)]


class Shrunk(Source):
    """The images of a source at several sizes, made by the protocol's bicubic: more to learn from few images.

    Args:
        source: the images; small ones that come with them are not used.
        factors: sizes, each at most 1.
    """

    def __init__(self, source: Source, factors: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7, 0.6)):
        if not factors or not all(0 < factor <= 1 for factor in factors):
            raise UserError(f"--data: Shrunk.factors {list(factors)} must be numbers above 0 and at most 1.")
        self.source, self.factors = source, tuple(factors)
        self.label = source.label

    def items(self, scale: int) -> list[Item]:
        return [ShrunkItem(item, factor) for item in self.source.items(scale) for factor in self.factors]


class ShrunkItem(Item):
    """An image at a smaller size.

    Args:
        item: the image.
        factor: of its size.
    """

    def __init__(self, item: Item, factor: float):
        self.item, self.factor = item, factor
        self.name = item.name if factor == 1 else f"{item.name} x {factor:g}"

    def size(self) -> tuple[int, int]:
        height, width = self.item.size()
        return max(1, round(height * self.factor)), max(1, round(width * self.factor))

    def original(self) -> tuple[Pixels, bool]:
        pixels, gray = self.item.original()
        return (pixels if self.factor == 1 else resize(pixels, size=self.size())), gray


class Procedural(Source):
    """Built-in drawings (`generator.procedural_image`): nothing to download.

    Args:
        count: how many.
        size: side in pixels.
        seed: of the drawings; another seed gives other ones.
    """

    label = "built-in drawings"

    def __init__(self, count: int = 64, size: int = 192, seed: int = 0):
        if count < 1 or size < 16:
            raise UserError(f"--data: Procedural needs count >= 1 and size >= 16, got {count} and {size}.")
        self.count, self.size, self.seed = count, size, seed

    def items(self, scale: int) -> list[Item]:
        return [Drawing(self.seed, index, self.size) for index in range(self.count)]


class Drawing(Item):
    """One image of the generator, drawn when asked for."""

    def __init__(self, seed: int, index: int, side: int):
        self.name = f"drawing-{seed}-{index:03d}"
        self.seed, self.index, self.side = seed, index, side

    def size(self) -> tuple[int, int]:
        return self.side, self.side

    def original(self) -> tuple[Pixels, bool]:
        return procedural_image(self.seed, self.index, self.side), False
