"""What the published_*.py programs print: published beside computed figures, and a verdict."""

from collections.abc import Sequence

from charlstm.gradcheck import TensorCheck


class Report:
    """A table that is printed line by line, and whether every line passed."""

    def __init__(self, title: str) -> None:
        self.passed = True
        print(f"{title}\n\n{'':52}{'published':>16}{'computed':>28}")

    def line(self, what: str, published: str, computed: str, passed: bool) -> None:
        """Print one comparison with its verdict."""
        self.passed &= passed
        print(f"{what:52}{published:>16}{computed:>28}  {'ok' if passed else 'FAIL'}")

    def exit_code(self) -> int:
        """Print the verdict on the whole; return 0 if every line passed, 1 otherwise."""
        print(
            f"\n{'All is as published.' if self.passed else 'FAILED: see the lines marked FAIL.'}"
        )
        return 0 if self.passed else 1


def worst(checks: Sequence[TensorCheck]) -> TensorCheck:
    """Return the check of the tensor that is furthest off."""
    return max(checks, key=lambda check: check.error)
