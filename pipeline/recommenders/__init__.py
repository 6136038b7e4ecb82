"""The recommenders: one contract, one registry, one module per recommender. Other code must not name one."""
