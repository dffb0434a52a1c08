"""Faults of weight files: what is left over, what is missing, and folders that hold two things."""

from __future__ import annotations

import tiny
from doors import row, saved


@row("folder")
def a_plain_folder(place):
    return place, saved(place), tiny.byte_tokenizer()
