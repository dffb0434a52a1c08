"""Reading answer distributions: tokens and boundaries, the forward passes, and the store of finished answers."""

from workbench.extraction.ask import ask as ask
from workbench.extraction.store import AnswerStore as AnswerStore
from workbench.extraction.texts import generate as generate
from workbench.extraction.texts import hidden_states as hidden_states
from workbench.extraction.texts import score_texts as score_texts
