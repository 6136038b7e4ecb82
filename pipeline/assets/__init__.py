"""The assets, one module per stage of the graph.

Import settings, resources and table code at the top of a module. Import torch, `models` and everything that loads them
inside the asset's function: every step process, the daemon and each command load all of these modules first, and torch
alone takes longer to load than the rest together.
"""
