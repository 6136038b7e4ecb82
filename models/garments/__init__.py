"""The generator on frozen features: settings, networks, prior, training. The trunk of the features is an argument."""
