"""gluonts' online repository of public data sets behind one function.

The only reader that needs a network, and only the first time: gluonts keeps what it fetched in its own cache.
"""

__all__ = ["Repository", "read_repository"]

from typing import NamedTuple

from core.errors import UserError, nearest

from .entries import from_entries
from .series import Panel


class Repository(NamedTuple):
    """The published training part, the series with the test horizon(s) at their ends, and the horizon."""

    train: Panel
    test: Panel
    prediction_length: int


def read_repository(name: str) -> Repository:
    """A data set of `gluonts.dataset.repository`, such as "m4_hourly" or "electricity".

    Raises:
        UserError: unknown name; not in gluonts' cache and no network.
    """
    from gluonts.dataset import repository

    if name not in repository.dataset_names:
        raise UserError(f"gluonts data set {name!r} is unknown.{nearest(name, repository.dataset_names)}")
    try:
        dataset = repository.get_dataset(name)
        length = int(dataset.metadata.prediction_length)
        # The frequency comes from the entries' periods: the metadata of old sets still say "H".
        train = from_entries(dataset.train, source=f"{name} (training)")
        test = from_entries(dataset.test, source=f"{name} (test)")
    except OSError as error:
        raise UserError(
            f"gluonts data set {name!r}: could not be fetched ({' '.join(str(error).split())}); connect to the network "
            f"once, or copy the set into {repository.default_dataset_path}."
        ) from error
    return Repository(train, test, length)
