"""The five day-ahead electricity price sets of Lago et al. (2021), hourly, 2,184 whole days each.

NP (Nord Pool), PJM (zone COMED), BE, FR, DE: a price in EUR or USD per MWh and two covariates that are day-ahead
forecasts, published before the auction: they are known for the 24 hours to be predicted, so they are known-future
columns here (the releases of the TimeXer line show them to a model over the look-back only). BE and FR share their
covariates. Negative prices and spikes (BE 2,999) are kept as they are.

Three protocols over the same files:

* `paper_split`: TimeXer's and its peers'. First int(.7 n) rows train, last int(.2 n) test, stride 1, 168 -> 24:
  36,500 / 5,219 / 10,460 windows; scores on standardised prices.
* `fev_part`: fev-bench. The last 480 rows, 20 windows of 24 hours, stride 24.
* `toolbox_part`: epftoolbox. The last 728 days, one forecast a day, stride 24; scores in EUR/MWh.

Read are the files of the record, the copies in thuml/TimeXer (target `OT`, spaces before names, dates
`2013/1/1 0:00`) and cleaned ones, with the price in any column.
"""

__all__ = ["SETS", "before", "fev_part", "paper_split", "read_epf", "toolbox_part"]

from pathlib import Path

import torch
from torch import Tensor

from core.errors import UserError, nearest

from .public import data_folder, find_file
from .series import Panel
from .splits import Split, last_rows, proportions
from .table import Columns, read_table, table_header

SETS = ("NP", "PJM", "BE", "FR", "DE")
ROWS = 52_416


def read_epf(name: str, path: str | Path | None = None) -> Panel:
    """One of the five sets as a panel with one series.

    Args:
        name: "NP", "PJM", "BE", "FR" or "DE".
        path: folder with NP.csv.gz or NP.csv and so on (default: `timeseries/epf` below $OMNIMIX_DATA or `data`).

    Raises:
        UserError: unknown set, missing file, a file that is not the published one.
    """
    if name not in SETS:
        raise UserError(f"EPF set {name!r} is unknown; choose one of {', '.join(SETS)}.{nearest(name, SETS)}")
    file = find_file(data_folder("epf", path), name, "the Zenodo record 4624805 (https://zenodo.org/records/4624805)")
    header = table_header(file)
    prices = [column for column in header[1:] if column == "OT" or "price" in column.lower()]
    if len(prices) != 1 or len(header) != 4:
        raise UserError(
            f"{file.name} row 1: expected a date, one price column (named OT or ...price...) and two covariates, "
            f"found {', '.join(header)}; take the file of the record unchanged."
        )
    covariates = tuple(column for column in header[1:] if column not in prices)
    columns = Columns(target=prices, timestamp=header[0], known_future=covariates)
    panel = read_table(file, columns, freq="h", item=name)
    if len(panel.values) != ROWS:
        raise UserError(
            f"{file.name}: has {len(panel.values):,} rows, the published set has {ROWS:,}; download it again."
        )
    return panel


def paper_split(panel: Panel) -> Split:
    """First int(.7 n) rows train, last int(.2 n) test, validation between; forecast with stride 1."""
    return proportions(panel, 0.7, 0.2)


def fev_part(panel: Panel) -> Tensor:
    """The last 480 rows as one part (S, 2), forecast with stride 24: 20 windows."""
    return last_rows(panel, 0, 480).test


def toolbox_part(panel: Panel) -> Tensor:
    """The last 728 days as one part (S, 2), forecast with stride 24: one forecast at each midnight."""
    return last_rows(panel, 0, 728 * 24).test


def before(part: Tensor) -> Tensor:
    """All rows before a part, as a part: what may be trained on when that part is scored."""
    return torch.stack([torch.zeros_like(part[:, 0]), part[:, 0]], 1)
