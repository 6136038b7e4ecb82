"""baselines: TODO"""
