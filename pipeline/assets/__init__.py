"""The assets, one module a stage of the graph.

At the head of a module stand its settings, its resources and what makes tables; what computes (`models`, torch, and
what of ours brings them) is imported inside the asset's function. Every step's process, the daemon and each command
load all of these modules first, and torch alone takes longer to load than the rest together.
"""
