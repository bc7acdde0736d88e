"""Support for scaling.py."""
