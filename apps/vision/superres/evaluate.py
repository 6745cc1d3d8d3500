"""Evaluation by the classical protocol: PSNR and SSIM on luma, bicubic and the published rows in the same table."""

__all__ = ["evaluate"]

import time

import lightning.pytorch as pl
import numpy as np
from numpy.typing import NDArray

from apps.vision.superres.data.datamodule import SuperResolutionData
from apps.vision.superres.data.sources import Several
from apps.vision.superres.metrics import Score, average, score, to_uint8
from apps.vision.superres.perceptual import Perceptual
from apps.vision.superres.pictures import Sample, sections
from apps.vision.superres.published import PUBLISHED
from apps.vision.superres.resize import resize
from apps.vision.superres.task import SuperResolutionTask
from core.training.gather import gathered
from core.training.report import Row, Table
from core.training.results import hardware
from core.training.task import Evaluation


def evaluate(
    task: SuperResolutionTask, trainer: pl.Trainer, data: SuperResolutionData, ckpt_path: str | None
) -> Evaluation:
    """Every test set in its own two columns; as many pixels as the scale are cut from every edge."""
    started = time.perf_counter()
    task.prepare(data.scale)
    samples = collect(task, trainer, data, ckpt_path)
    sets = groups(data)
    # A set by itself is named in the title alone.
    prefixes = {title: f"{title} " if len(sets) > 1 else "" for title in sets}
    columns = [prefix + metric for prefix in prefixes.values() for metric in ("PSNR", "SSIM")]
    ours, baseline = {}, {}
    for title, span in sets.items():
        ours |= _columns(prefixes[title], average(sample.score for sample in samples[span]))
        baseline |= _columns(prefixes[title], average(sample.baseline for sample in samples[span]))
    if task.lpips:
        distance = Perceptual()
        for title, span in sets.items():
            column = f"{prefixes[title]}LPIPS"
            columns.append(column)
            ours[column], baseline[column] = (
                sum(distance(getattr(sample, name), cut(sample)) for sample in samples[span]) / len(samples[span])
                for name in ("ours", "bicubic")
            )
    rows = [Row(task.label, ours, ours=True), Row("bicubic", baseline)]
    if data.degradation is None:
        rows += published(prefixes, data.scale)
    protocol = f"x{data.scale}, luma of BT.601 not rounded, {data.scale} pixels cut from every edge"
    seed = task.config.get("seed_everything")
    table = Table(
        f"{data.label}, x{data.scale}",
        columns,
        rows,
        f"PSNR in dB and SSIM on luma; {protocol}; small images by MATLAB's bicubic, 8 bit; seed {seed}; {hardware()}.",
        digits={column: 2 for column in columns if column.endswith("PSNR")},
        higher=frozenset(column for column in columns if not column.endswith("LPIPS")),
    )
    gain = sum(sample.gain for sample in samples) / len(samples)
    return Evaluation(
        task="super-resolution",
        protocol=protocol,
        data=data.label,
        split="test",
        model=task.label,
        metrics=ours,
        tables=[table],
        sections=sections(samples),
        sentence=f"{task.label} enlarges {len(samples)} images {data.scale} times: {gain:.2f} dB above bicubic on "
        "average.",
        seconds=time.perf_counter() - started,
    )


def collect(
    task: SuperResolutionTask, trainer: pl.Trainer, data: SuperResolutionData, ckpt_path: str | None
) -> list[Sample]:
    """What the network makes of every test image, in their order; gathered over processes."""
    part = data.part("test")
    made = trainer.forecasts(task, data.loader(part), ckpt_path)
    results = gathered({each["index"]: to_uint8(each["result"][0]) for each in made})
    samples = []
    for index in range(len(part)):
        pair = part.pair(index)
        ours = results[index]
        # What a reference coded in gray is compared on: raw values.
        original = pair.hr[..., 0] if pair.gray else pair.hr
        bicubic = resize(pair.lr, scale=data.scale)
        samples.append(
            Sample(
                pair.name,
                pair.lr,
                pair.hr,
                ours,
                bicubic,
                score(ours, original, data.scale),
                score(bicubic, original, data.scale),
            )
        )
    return samples


def cut(sample: Sample) -> NDArray[np.uint8]:
    """The original where the enlarged image has pixels."""
    height, width = sample.ours.shape[:2]
    return sample.original[:height, :width]


def groups(data: SuperResolutionData) -> dict[str, slice]:
    """Title of each test set -> its images among those of all."""
    source = data.test or data.validation or data.train
    several = source.sources if isinstance(source, Several) else [source]
    if data.test is None or len(several) == 1:
        return {data.label: slice(0, len(data.items("test")))}
    out, first = {}, 0
    for each in several:
        count = len(each.items(data.scale))
        out[each.label] = slice(first, first + count)
        first += count
    return out


def published(prefixes: dict[str, str], scale: int) -> list[Row]:
    """Rows of the papers for these sets (title -> what its columns begin with), where they have any."""
    rows: dict[str, dict[str, float]] = {}
    for title, prefix in prefixes.items():
        for system, values in PUBLISHED.get(title, {}).get(scale, {}).items():
            rows.setdefault(system, {}).update({prefix + metric: value for metric, value in values.items()})
    return [Row(system, values, "published, not run here") for system, values in rows.items()]


def _columns(prefix: str, values: Score) -> dict[str, float]:
    return {f"{prefix}PSNR": values.psnr, f"{prefix}SSIM": values.ssim}
