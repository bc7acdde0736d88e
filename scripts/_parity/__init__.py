"""Support for make_parity.py."""
