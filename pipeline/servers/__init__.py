"""servers: TODO"""
