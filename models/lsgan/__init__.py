"""The category-conditional LSGAN (Kang et al. 2017): networks, settings, batches, training."""
