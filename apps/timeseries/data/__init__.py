"""Forecasting data: from files and public sets to batches.

`series.Panel` is the common form, readers make it (`table`, `epf`, `ett`, `repository`, `generator`, `entries` for
gluonts), `splits` says which rows are forecast in training, validation and test, `scaler.Scaler` standardises, and
`windows.WindowDataset` makes the batches. Nothing is imported here.
"""
