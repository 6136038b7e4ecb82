"""Recommenders that DVBPR is compared with: popularity, BPR-MF, VBPR, visual neighbours."""
