"""Whose culture a model speaks for: one module a notebook, and what they share."""
