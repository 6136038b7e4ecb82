"""The recommenders: one contract, one registry, one module for each recommender. Nothing outside names one."""
