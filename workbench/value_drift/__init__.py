"""What post-training does to the values of a model: one module a notebook, and what they share."""
