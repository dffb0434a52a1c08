"""Hallucination and abstention: one module per notebook, and shared modules."""
