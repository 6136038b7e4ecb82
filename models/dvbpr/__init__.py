"""dvbpr: TODO"""
