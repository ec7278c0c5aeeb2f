"""Keeping results and telling them."""
