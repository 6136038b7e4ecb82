"""Tests of the data work."""
