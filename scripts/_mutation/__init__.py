"""Support for mutation_test.py."""
