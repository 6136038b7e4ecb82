"""data: TODO"""
