"""lsgan: TODO"""
