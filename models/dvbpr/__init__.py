"""DVBPR (Kang et al. 2017): CNN-F, the objective, settings, training."""
