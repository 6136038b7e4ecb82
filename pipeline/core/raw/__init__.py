"""Fetch the shop's raw files, and read their lines into typed tables and rejects."""
