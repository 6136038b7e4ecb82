"""recommenders: TODO"""
