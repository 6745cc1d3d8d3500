"""A user's table in, forecasts with time stamps in original units out."""

__all__ = ["predict"]

from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import pandas as pd

from apps.timeseries.data.datamodule import ForecastData
from apps.timeseries.data.scaler import Scaler
from apps.timeseries.data.series import Panel
from apps.timeseries.evaluate import collect
from apps.timeseries.forecasts import Forecasts
from apps.timeseries.task import ForecastTask
from core.errors import UserError
from core.training.files import writing


def predict(task: ForecastTask, trainer: pl.Trainer, data: ForecastData, ckpt_path: str | None, out: Path) -> None:
    """The steps after the last observed target of every series, to a .csv, .csv.gz or .parquet file.

    Raises:
        UserError: another suffix; the table does not fit what the checkpoint was trained on.
    """
    if not str(out).endswith((".csv", ".csv.gz", ".parquet")):
        raise UserError(f"--out {out}: forecasts are written as .csv, .csv.gz or .parquet; choose one of these names.")
    task.restore_facts(ckpt_path)
    data.context_length, data.prediction_length = task.facts["context_length"], task.facts["prediction_length"]
    data.covariate_length = task.facts["sizes"].get("covariate_length")
    data.read(vocabulary=task.facts["vocabulary"] or None)
    data.scaler = fitting(task.scaler(), data.panel, task.facts["sizes"])
    data.setup("predict")
    forecasts = collect(task, trainer, data, data.horizon_windows(), ckpt_path)
    if not trainer.is_global_zero:
        return
    table = frame(forecasts)
    with writing(out) as beside:
        if out.suffix == ".parquet":
            table.to_parquet(beside, index=False)
        else:
            table.to_csv(beside, index=False, compression="gzip" if out.suffix == ".gz" else None)
    print(f"{out}: {len(forecasts)} series, {data.prediction_length} steps each, {', '.join(table.columns[2:])}")


def fitting(scaler: Scaler, panel: Panel, sizes: dict) -> Scaler:
    """The scaling of the checkpoint under the table's column names: role by role, in the order given.

    Raises:
        UserError: another number of columns in a role than the checkpoint was trained on.
    """
    roles = {
        "static_real": (len(panel.static_real_names), sizes["num_feat_static_real"]),
        "static_cat": (len(panel.vocabulary), len(sizes["cardinality"])),
        "target": (len(panel.target), sizes["target_dim"]),
        "past_only": (len(panel.past_only), sizes["num_past_feat_dynamic_real"]),
        "known_future": (len(panel.known_future), sizes["num_feat_dynamic_real"]),
    }
    for role, (given, trained) in roles.items():
        if given != trained:
            raise UserError(
                f"{panel.source}: --data.{role} names {given} columns, but the checkpoint was trained with {trained}; "
                "name the same columns in the same roles."
            )
    if panel.columns == scaler.columns:
        return scaler
    pairs = [
        f"{own} as {trained}" for own, trained in zip(panel.columns, scaler.columns, strict=True) if own != trained
    ]
    print(f"columns taken by their order: {', '.join(pairs)}")
    return replace(scaler, columns=panel.columns)


def frame(forecasts: Forecasts) -> pd.DataFrame:
    """Long form: item_id, timestamp, one column a target, and one a quantile (`price_0.1`)."""
    names, panel = forecasts.panel.target, forecasts.panel
    point = forecasts.original(forecasts.point)
    quantiles = []
    if forecasts.quantiles is not None:
        quantiles = [forecasts.original(forecasts.quantiles[..., n]) for n in range(len(forecasts.levels))]
    parts = []
    for n in range(len(forecasts)):
        part = {"item_id": panel.item_ids[int(forecasts.item[n])], "timestamp": forecasts.stamps(n)}
        for k, name in enumerate(names):
            part[name] = point[n, :, k]
            part |= {
                f"{name}_{level:g}": values[n, :, k] for level, values in zip(forecasts.levels, quantiles, strict=False)
            }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)
