"""modern: TODO"""
