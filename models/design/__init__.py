"""Preference maximisation: generate pictures that a user likes, from noise or from a product's picture."""
