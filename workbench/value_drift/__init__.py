"""Value drift in post-training: one module per notebook, and modules that notebooks share."""
