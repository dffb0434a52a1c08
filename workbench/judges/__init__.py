"""Whether a model can judge: one module a notebook, and what they share."""
