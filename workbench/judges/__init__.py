"""Judges: one module per notebook, and the modules they share."""
