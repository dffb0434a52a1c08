"""Run mutmut on a random sample of mutants: python tests/mutation.py SIZE PATTERN..., as `make mutation SAMPLE=100`."""

import random
import sys

from mutmut import __main__ as mutmut

size, patterns = int(sys.argv[1]), tuple(sys.argv[2:])
collect = mutmut.collect_source_file_mutation_data


def sample(*, mutant_names):
    mutants, files = collect(mutant_names=mutant_names)
    return random.Random(0).sample(mutants, min(size, len(mutants))), files


mutmut.collect_source_file_mutation_data = sample
mutmut.run.callback(patterns, max_children=None)
