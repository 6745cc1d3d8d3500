"""Interactive segmentation: what clicks mean, sessions of a user and a network, and users that are simulated.

Labels of pixels, (H, W) or (B, H, W) of uint8:

    0  surely background     1  perhaps background     2  unknown     3  perhaps object     4  surely object

A click paints a disk (distance <= 5 pixels) with a sure label. A prediction turns unknown pixels to "perhaps" what it
says, and "perhaps" pixels of the other side to unknown; sure ones stay (InterFormer, Huang et al. 2023).

A simulated user clicks into the larger of the two errors, missed object and wrong object, by the largest distance of a
pixel to what is right (the image's border counts as right; pixels clicked before do too); on a tie into the wrong
object. The pixel is drawn evenly from those whose distance is above the largest one over `spread`: of 1 the farthest
alone, of 1.7 as in training.

Decided differently: pixels labelled 255 are no error of either kind; the release counts them as background.
"""

__all__ = [
    "MAYBE_BACKGROUND",
    "MAYBE_OBJECT",
    "SURE_BACKGROUND",
    "SURE_OBJECT",
    "UNKNOWN",
    "Click",
    "ClickScores",
    "InteractiveSession",
    "Predictor",
    "Zoom",
    "believed",
    "evaluate_clicks",
    "next_click",
    "painted",
    "simulate",
    "zoom_box",
]

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from apps.vision.segmentation.metrics.clicks import LIMIT, Clicks, number_of_clicks

SURE_BACKGROUND, MAYBE_BACKGROUND, UNKNOWN, MAYBE_OBJECT, SURE_OBJECT = range(5)
IGNORE = 255


class Click(NamedTuple):
    """A pixel that a user says belongs to the object (`positive`) or to the background."""

    y: int
    x: int
    positive: bool


class Zoom(NamedTuple):
    """What is looked at closely from the second click on.

    Attributes:
        expand: side of the box over that of what is found.
        least: side of the box at least, in pixels.
    """

    expand: float = 1.4
    least: int = 32


def painted(labels: Tensor, click: Click, radius: float = 5.0) -> Tensor:
    """Labels (H, W) with a disk around a click.

    Raises:
        ValueError: for a click outside.
    """
    height, width = labels.shape
    if not (0 <= click.y < height and 0 <= click.x < width):
        raise ValueError(f"click at y {click.y}, x {click.x} of an image of {height} x {width}; click into the image")
    down = torch.arange(height, device=labels.device)[:, None] - click.y
    right = torch.arange(width, device=labels.device) - click.x
    return labels.masked_fill(down**2 + right**2 <= radius**2, SURE_OBJECT if click.positive else SURE_BACKGROUND)


def believed(labels: Tensor, predicted: Tensor) -> Tensor:
    """Labels after a prediction of the same shape, 1 or True where the object is."""
    found = predicted.bool()
    same = torch.where(found, MAYBE_OBJECT, MAYBE_BACKGROUND).to(labels.dtype)
    other = torch.where(found, MAYBE_BACKGROUND, MAYBE_OBJECT).to(labels.dtype)
    return torch.where(labels == UNKNOWN, same, torch.where(labels == other, UNKNOWN, labels).to(labels.dtype))


def next_click(
    predicted: Tensor,
    truth: Tensor,
    clicked: Sequence[Click] = (),
    spread: float = 1.0,
    generator: torch.Generator | None = None,
) -> Click | None:
    """Where a simulated user clicks, or None if there is no error left outside of the pixels clicked before.

    Args:
        predicted: (H, W), 1 or True where the object is.
        truth: (H, W), 1 for the object, 0 for the background, 255 for neither.
        clicked: earlier clicks.
        spread: from 1 on; see the module's docstring.
        generator: draws the pixel.
    """
    if spread < 1:
        raise ValueError(f"next_click: spread {spread}; give 1 for the farthest pixels, more for others too")
    found, real = predicted.cpu().numpy().astype(bool), truth.cpu().numpy()
    missed, wrong = ~found & (real == 1), found & (real == 0)
    for click in clicked:
        missed[click.y, click.x] = wrong[click.y, click.x] = False
    far_missed, far_wrong = _inside(missed), _inside(wrong)
    positive = bool(far_missed.max(initial=0) > far_wrong.max(initial=0))
    far = far_missed if positive else far_wrong
    if far.max(initial=0) == 0:
        return None
    # The farthest ones themselves are above the largest distance less a rounding.
    places = np.argwhere(far > far.max() / spread * (1 - 1e-7))
    y, x = places[int(torch.randint(len(places), (), generator=generator))]
    return Click(int(y), int(x), positive)


def _inside(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel of a mask to the nearest pixel outside, where everything beyond the border is."""
    return distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] if mask.any() else np.zeros(mask.shape)


def zoom_box(labels: Tensor, predicted: Tensor, zoom: Zoom, stride: int = 32) -> Tensor:
    """(4,) left, top, right, bottom of what is found and of the clicks, widened to multiples of the stride.

    Args:
        labels: (H, W).
        predicted: (H, W), 1 or True where the object is.
        zoom: how much wider.
        stride: of the coarsest map; the box may reach over the image to the next multiple.
    """
    seen = predicted.bool() | (labels == SURE_OBJECT) | (labels == SURE_BACKGROUND)
    sides = []
    for axis in (1, 0):
        places = seen.any(1 - axis).nonzero()[:, 0]
        length = seen.shape[axis]
        first, last = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, length)
        middle, half = (first + last) / 2, max(zoom.expand * (last - first), zoom.least) / 2
        first, last = max(round(middle - half), 0), min(round(middle + half), length)
        sides.append((first // stride * stride, -(-last // stride) * stride))
    (left, right), (top, bottom) = sides
    return torch.tensor([left, top, right, bottom])


class Predictor(Protocol):
    """What can be clicked at."""

    def image(self, x: Tensor) -> None:
        """Begins with an image (3, H, W)."""

    def click(self, y: int, x: int, positive: bool) -> Tensor:
        """The probability of the object (H, W) after one more click."""


class InteractiveSession:
    """A user and a network, image by image.

        session = InteractiveSession(interformer_light())
        session.image(picture)
        mask = session.click(120, 87, True) > 0.5

    Args:
        network: with `features(image)`, `decode(features, labels, boxes)` and `stride`, as `InterFormer` has them.
        zoom: look closely at what is found from the second click on; None = always at all.
        radius: of a click, in pixels.

    Attributes:
        labels: (H, W), see the module's docstring.
        probability: (H, W) of the object after the last click, 0 before the first.
        clicks: so far.
    """

    def __init__(self, network: nn.Module, zoom: Zoom | None = None, radius: float = 5.0) -> None:
        self.network, self.zoom, self.radius = network.eval(), zoom, radius
        self._features: Sequence[Tensor] | None = None

    @torch.no_grad()
    def image(self, x: Tensor) -> None:
        """Begins with an image (3, H, W), normalised as the network wants it; the encoder runs once.

        Raises:
            ValueError: for another shape.
        """
        if x.ndim != 3 or not x.numel():
            raise ValueError(f"InteractiveSession: an image {tuple(x.shape)}; give one of (3, H, W)")
        self._features = self.network.features(x[None])  # type: ignore[operator]
        self.clicks: list[Click] = []
        self.labels = torch.full(x.shape[1:], UNKNOWN, dtype=torch.uint8, device=x.device)
        self.probability = torch.zeros(x.shape[1:], device=x.device)

    @torch.no_grad()
    def click(self, y: int, x: int, positive: bool) -> Tensor:
        """The probability of the object (H, W) after one more click; the encoder does not run.

        Raises:
            ValueError: before an image, or for a click outside.
        """
        if self._features is None:
            raise ValueError("InteractiveSession: there is no image yet; call image(x) first")
        click = Click(y, x, positive)
        self.labels = painted(self.labels, click, self.radius)
        boxes = None
        if self.zoom is not None and self.clicks:
            stride = int(self.network.stride)  # type: ignore[arg-type]
            boxes = zoom_box(self.labels, self.probability > 0.5, self.zoom, stride)[None]
        made = self.network.decode(self._features, self.labels[None], boxes)  # type: ignore[operator]
        self.clicks.append(click)
        self.probability = made.main.softmax(1)[0, 1]
        self.labels = believed(self.labels, self.probability > 0.5)
        return self.probability


@torch.no_grad()
def simulate(
    network: nn.Module,
    images: Tensor,
    truth: Tensor,
    generator: torch.Generator | None = None,
    most: int = 20,
    decay: float = 0.6,
    spread: float = 1.7,
    radius: float = 5.0,
) -> Tensor:
    """Labels (B, H, W) to learn from: one click into the middle of each object, then n rounds of a click at what the
    network gets wrong, n from 0 to `most` with probability proportional to `decay` ** n.

    Args:
        network: as of `InteractiveSession`; evaluated, and put back into its mode.
        images: (B, 3, H, W).
        truth: (B, H, W), 1 for the object, 0 for the background, 255 for neither.
        generator: draws everything.
        most: rounds.
        decay: of their probability.
        spread: of the later clicks.
        radius: of a click, in pixels.
    """
    shares = decay ** torch.arange(most + 1, dtype=torch.float64)
    rounds = int(torch.multinomial(shares, 1, generator=generator))
    labels = torch.full(truth.shape, UNKNOWN, dtype=torch.uint8, device=truth.device)
    clicked: list[list[Click]] = [[] for _ in truth]

    def add(predicted: Tensor, reach: float) -> None:
        for n, earlier in enumerate(clicked):
            click = next_click(predicted[n], truth[n], earlier, reach, generator)
            if click is not None:
                earlier.append(click)
                labels[n] = painted(labels[n], click, radius)

    mode = network.training
    network.eval()
    try:
        add(torch.zeros_like(truth), 1.0)
        features = network.features(images) if rounds else []  # type: ignore[operator]
        for _ in range(rounds):
            predicted = network.decode(features, labels).main.argmax(1)  # type: ignore[operator]
            labels = believed(labels, predicted)
            add(predicted, spread)
    finally:
        network.train(mode)
    return labels


class ClickScores(NamedTuple):
    """Number of clicks over a set of objects.

    Attributes:
        noc85, noc90: until an IoU of 0.85 and of 0.9.
        ious: of each object after every click.
    """

    noc85: Clicks
    noc90: Clicks
    ious: list[list[float]]


def evaluate_clicks(
    predictor: Predictor,
    source: Iterable[tuple[Tensor, Tensor]],
    limit: int = LIMIT,
    generator: torch.Generator | None = None,
) -> ClickScores:
    """A simulated user and a predictor over images with one object each.

    An object is done at an IoU of 0.9, or where no pixel outside of the clicked ones is wrong.

    Args:
        predictor: an `InteractiveSession`, say.
        source: pairs of an image (3, H, W) and its truth (H, W): 1 object, 0 background, 255 neither.
        limit: clicks an object.
        generator: draws among pixels that are equally far.

    Raises:
        ValueError: for a truth without an object.
    """
    ious: list[list[float]] = []
    for number, (image, truth) in enumerate(source):
        if not bool((truth == 1).any()):
            raise ValueError(f"evaluate_clicks: truth {number} has no pixel of 1; leave images without object out")
        predictor.image(image)
        predicted, clicks, own = torch.zeros_like(truth, dtype=torch.bool), [], []
        while len(own) < limit and (not own or own[-1] < 0.9):
            click = next_click(predicted, truth, clicks, 1.0, generator)
            if click is None:
                break
            clicks.append(click)
            predicted = predictor.click(*click) > 0.5
            own.append(_iou(predicted, truth))
        ious.append(own)
    return ClickScores(number_of_clicks(ious, 0.85, limit), number_of_clicks(ious, 0.9, limit), ious)


def _iou(predicted: Tensor, truth: Tensor) -> float:
    found, real = predicted & (truth != IGNORE), truth == 1
    return ((found & real).sum() / (found | real).sum()).item()
