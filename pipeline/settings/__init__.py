"""settings: TODO"""
