"""Runs trials for some seconds, each with its own seed, so that a finding can be reproduced."""

import argparse
import faulthandler
import random
import sys
import time
from collections import Counter

from tests.fuzz import plain_requests
from tests.fuzz.grammar import Grammar
from tests.fuzz.trial import Finding, Trial
from tests.live.corpus import load_cases

HANG = 10.0
"""Seconds that a single input may take at the most."""


def main() -> int:
    """Run the trials of the command line; return the exit code, 1 if something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=time.time_ns(), help="of the first trial")
    parser.add_argument(
        "--reader", type=int, metavar="N", help="only compare the compiled reader on N inputs"
    )
    options = parser.parse_args()
    if options.reader:
        accepted = plain_requests.run(options.seed, options.reader)
        print(f"{options.reader} inputs from seed {options.seed}: {accepted} accepted, all alike")
        return 0
    print(f"fuzzing for {options.seconds:g} s from seed {options.seed}", flush=True)
    corpus = [case.raw for case in (*load_cases("valid"), *load_cases("invalid"))]
    trial = Trial()
    reasons: Counter[str] = Counter()
    until = time.monotonic() + options.seconds
    seed = options.seed
    while time.monotonic() < until:
        data, pieces = stream(random.Random(seed), corpus)
        faulthandler.dump_traceback_later(HANG, exit=True)
        try:
            reasons[trial.run(data, pieces)] += 1
        except Finding as finding:
            print(f"seed {seed} after {sum(reasons.values())} trials:\n{finding}")
            return 1
        faulthandler.cancel_dump_traceback_later()
        seed += 1
    print(f"{sum(reasons.values())} inputs, nothing found; refused although h11 accepts:")
    for reason, count in reasons.most_common():
        print(f"{count:8} {reason or '(none)'}")
    trial.close()
    return 0


def stream(dice: random.Random, corpus: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Return an input and its pieces: by the grammar or from the corpus, some with accidents."""
    grammar = Grammar(dice, odds=dice.choice((0.0, 0.03, 0.1)))
    if dice.random() < 0.3:
        data = b"".join(dice.choice(corpus) for _ in range(dice.choice((1, 1, 2))))
    else:
        data = grammar.stream()
    for _ in range(dice.choice((0, 0, 1, 1, 2, 4))):
        data = grammar.accident(data)
    return data, grammar.pieces(data)


if __name__ == "__main__":
    sys.exit(main())
