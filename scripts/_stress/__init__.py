"""Support for stress.py."""
