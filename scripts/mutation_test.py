"""Plant known mistakes, one at a time, and show that the test meant to see each one fails.

Run it where the tests run::

    python scripts/mutation_test.py           # as CI does: kernels as plain Python
    python scripts/mutation_test.py --full    # mistakes in kernels are compiled: 20 s each

There are two sets. For a mistake in the backward pass or the gradient checker, exactly the
tensors that it affects must fail their check (_mutation/gradients.py). Every other mutant (in the
modules beside it) names the tests that are meant to see it: they pass on the original sources,
and one of them must fail on the mutant. The last lines name the mutants that were not caught, and
count them; the exit code is 1 if there is any, a mistake that could not be planted among them.

cosmic-ray generates further mutants (pip install cosmic-ray). It edits the sources in place, and
leaves a mutant behind when it is interrupted, so give it a copy of the repository to work in,
where the tests have run once: compile time would count against the first mutants::

    cosmic-ray init scripts/_mutation/cosmic.toml session.sqlite
    cr-filter-operators session.sqlite scripts/_mutation/cosmic.toml
    cosmic-ray exec scripts/_mutation/cosmic.toml session.sqlite
    cr-report --surviving-only --show-diff session.sqlite
"""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from _mutation import (
    distributed,
    evaluation,
    interop,
    kernels,
    option_sources,
    regularization,
    sampling,
    training,
)
from _mutation.runner import Mutant, Outcome, run_all, run_tests

MUTANTS = (
    *training.MUTANTS,
    *regularization.MUTANTS,
    *evaluation.MUTANTS,
    *sampling.MUTANTS,
    *interop.MUTANTS,
    *option_sources.MUTANTS,
    *kernels.MUTANTS,
    *distributed.MUTANTS,
)


def check_unmutated(mutants: list[Mutant], is_full: bool) -> bool:
    """Return whether the named tests pass on the original sources; print the log if not."""

    def run(is_emulated: bool) -> tuple[int, Outcome]:
        chosen = [m for m in mutants if (m.is_slow and not is_full) == is_emulated]
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        if not tests:
            return 0, Outcome(0, 0.0, "")
        return len(tests), run_tests([], tests, is_emulated=is_emulated)

    kinds = {"compiled": False, "kernels as Python": True}
    with ThreadPoolExecutor() as pool:
        outcomes = dict(zip(kinds, pool.map(run, kinds.values()), strict=True))
    for kind, (count, outcome) in outcomes.items():
        if count:
            print(f"{count} tests, {kind}, without a mutant: {outcome.seconds:.0f} s", flush=True)
        if outcome.code != 0:
            print(outcome.log)
    return all(outcome.code == 0 for _, outcome in outcomes.values())


def report(mutant: Mutant, outcome: Outcome) -> None:
    """Print a line on a mutant, and the tests' log if none failed."""
    place = f"{mutant.edit.file.removesuffix('.py')}: {mutant.edit.function or 'constants'}"
    print(
        f"{outcome.verdict:8}{outcome.seconds:5.1f} s  {place:45} {mutant.name:65} "
        f"{' '.join(mutant.tests)}",
        flush=True,
    )
    if outcome.verdict != "caught":
        print(outcome.log)


def main() -> int:
    """Run the requested mutants; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--full", action="store_true", help="compile the mistakes in kernels")
    parser.add_argument(
        "--only",
        default="",
        metavar="TEXT",
        help="only mutants whose file, name or tests contain TEXT",
    )
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    mutants = [m for m in MUTANTS if options.only in f"{m.edit.file} {m.name} {m.tests}"]
    if not check_unmutated(mutants, options.full):
        return 1
    missed = run_all(
        mutants, lambda mutant: mutant.is_slow and not options.full, options.jobs, report
    )
    count = len(mutants)
    if not options.only:
        from _mutation import gradients  # here: every process imports this module, and no kernels

        missed += gradients.run()
        count += len(gradients.MUTANTS)
    print("", *missed, f"{count} mutants, {len(missed)} not caught", sep="\n")
    return 1 if missed else 0


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Prints the module's docstring unchanged."""


if __name__ == "__main__":
    sys.exit(main())
