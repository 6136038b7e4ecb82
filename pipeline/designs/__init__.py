"""Garments designed for people: the search, its tables and its trade-off between preference and realism."""
