"""Benchmarks, one module per claim: ours against a named peer, in one run."""
