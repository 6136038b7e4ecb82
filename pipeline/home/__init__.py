"""home: TODO"""
