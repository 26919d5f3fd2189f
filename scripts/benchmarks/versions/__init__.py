"""Compares two checkouts of prefork: CPU per request of each, and the ratio between them."""
