"""training: TODO"""
