"""The parts of scripts/results.py: rows, runs, records and tables."""
