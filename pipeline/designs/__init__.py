"""Garments designed for individual users: the search, its tables, and the trade-off of preference against realism."""
