"""metrics: TODO"""
