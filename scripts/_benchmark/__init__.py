"""Support for benchmark.py."""
