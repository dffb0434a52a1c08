"""Cultural alignment of language models: one module per notebook, and modules that notebooks share."""
