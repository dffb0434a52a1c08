"""Whether a model hallucinates, or knows when to abstain: one module a notebook, and what they share."""
