"""One module a claim: ours against a named peer, in one run."""
