"""Calibration of confidence."""

from __future__ import annotations
