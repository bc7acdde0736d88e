"""What holds for all tests: how Hypothesis chooses its examples."""

from hypothesis import settings

# The same examples in every run, and no deadline: the first may wait for a compiler.
settings.register_profile("charlstm", deadline=None, derandomize=True)
settings.load_profile("charlstm")
