"""Fetch pictures, store them, and decode them to the bank and to features."""
