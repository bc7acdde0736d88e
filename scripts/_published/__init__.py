"""The systems that published.py rebuilds."""
