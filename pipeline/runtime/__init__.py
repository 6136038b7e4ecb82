"""runtime: TODO"""
