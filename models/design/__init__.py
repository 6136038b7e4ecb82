"""Preference maximisation: pictures that please a user, from noise or from a product."""
