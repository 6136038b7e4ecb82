"""design: TODO"""
