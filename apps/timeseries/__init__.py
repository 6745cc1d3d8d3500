"""Forecasting with exogenous variables."""
