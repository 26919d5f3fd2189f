"""Measure how long a ping takes during each attack: ``scripts/hostile [--seconds N] [WORD]``."""

import argparse
import statistics
import sys

from tests.hostile.attack_runner import ATTACKS, is_possible, run_attack


def main() -> int:
    """Print one line for each attack; return 1 if a master did not hold out."""
    parser = argparse.ArgumentParser(prog="scripts/hostile", description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="only attacks with this in their name")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each attack")
    asked = parser.parse_args()
    if not is_possible():
        print("only root may become the other user", file=sys.stderr)
        return 1
    print(f"{'attack':44} {'pings':>6} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'log KB':>7}")
    failed = False
    for attack in ATTACKS:
        if asked.word not in str(attack):
            continue
        try:
            report = run_attack(attack, asked.seconds)
        except (AssertionError, OSError) as error:
            failed = True
            print(f"{attack!s:44} did not hold out: {error!r}")
            continue
        times = sorted(1000 * each for each in report.pings)
        numbers = (statistics.median(times), times[len(times) * 99 // 100], times[-1])
        shown = " ".join(f"{number:8.2f}" for number in numbers)
        print(f"{attack!s:44} {len(times):6} {shown} {report.logged / 1024:7.1f}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
