"""Evaluation as separation papers do it: SI-SDR and SDR improvement of every mixture, the published rows beside."""

__all__ = ["evaluate"]

import time

import lightning.pytorch as pl
import torch

from apps.audio.data.datamodule import SeparationData
from apps.audio.metrics import Row as Score
from apps.audio.metrics import average, score
from apps.audio.pictures import Example, sections
from apps.audio.published import PUBLISHED
from apps.audio.task import SeparationTask
from core.training.gather import gathered
from core.training.report import Row, Table
from core.training.results import hardware
from core.training.task import Evaluation

COLUMNS = {"si_sdri": "SI-SDRi", "sdri": "SDRi", "si_sdr": "SI-SDR", "sdr": "SDR"}


def evaluate(task: SeparationTask, trainer: pl.Trainer, data: SeparationData, ckpt_path: str | None) -> Evaluation:
    """Zero-mean SI-SDR and 512-tap SDR, best permutation, mean over the mixtures; the mixture itself is a row."""
    started = time.perf_counter()
    task.prepare(data.speakers, data.sample_rate)
    rows, made = collect(task, trainer, data, ckpt_path)
    means = average(rows)
    ours = {title: means[name] for name, title in COLUMNS.items()}
    unprocessed = {"SI-SDRi": 0.0, "SDRi": 0.0, "SI-SDR": means["mix_si_sdr"], "SDR": means["mix_sdr"]}
    table_rows = [Row(task.label, ours, ours=True), Row("the mixture itself", unprocessed)]
    published = PUBLISHED.get(data.label, {})
    table_rows += [Row(name, {"SI-SDRi": value}, "published, not run here") for name, value in published.items()]
    left_out = {"silent_files": "with a silent reference", "alike_files": "of voices that are alike"}
    without = "".join(f"; {means[name]:.0f} {what} left out" for name, what in left_out.items() if means[name])
    table = Table(
        f"{data.label}: {means['files']:.0f} mixtures of {data.speakers} speakers, {data.sample_rate} Hz{without}",
        list(COLUMNS.values()),
        table_rows,
        f"dB, best permutation, mean over speakers, then over mixtures; seed {task.config.get('seed_everything')}; "
        f"{hardware()}.",
        digits=2,
        higher=frozenset(COLUMNS.values()),
    )
    return Evaluation(
        task="speech separation",
        protocol="SI-SDR with zero mean, SDR with 512 taps, best permutation",
        data=data.label,
        split="test",
        model=task.label,
        metrics=ours,
        tables=[table],
        sections=sections(made),
        sentence=f"{task.label} separates {len(rows)} mixtures of {data.speakers} speakers: {ours['SI-SDRi']:.2f} dB "
        "above the mixture.",
        seconds=time.perf_counter() - started,
    )


def collect(
    task: SeparationTask, trainer: pl.Trainer, data: SeparationData, ckpt_path: str | None
) -> tuple[list[Score], list[Example]]:
    """Scores and signals of every test mixture, in their order; gathered over processes."""
    part = data.part("test")
    made = trainer.forecasts(task, data.loader("test"), ckpt_path)
    estimates = gathered({index: result for batch in made for index, result in batch})
    rows, signals = [], []
    for index in range(len(part)):
        _, name, (mixture, targets) = part[index]
        result = estimates[index]
        row = score(result, torch.from_numpy(targets), torch.from_numpy(mixture), name, data.sample_rate)
        rows.append(row)
        ordered = result[list(row.permutation)].numpy()
        signals.append(Example(name, data.sample_rate, mixture, targets, ordered, row.si_sdri, row.mix_si_sdr))
    return rows, signals
