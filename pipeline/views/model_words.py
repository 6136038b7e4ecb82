"""Names of recommenders in words that a shop's people use."""

from pipeline.core.recommender_names import DVBPR, MODERN

PLANTED = "planted_best"
MODELS = {
    DVBPR: ("DVBPR", "the method: a network trained on the pictures"),
    MODERN: ("Modern", "a taste read off the pictures of the history"),
    "vbpr": ("VBPR", "ImageNet features and learnt taste"),
    "vbpr_visual": ("VBPR, looks alone", "the same without what belongs to an item's id"),
    "bpr_mf": ("BPR-MF", "learnt taste, no pictures"),
    "visual_neighbours": ("Visual neighbours", "looks like what the user has"),
    "visual_neighbours_best": ("Best neighbour", "looks like one thing that the user has"),
    "popularity": ("Popularity", "the same list for all"),
    "picture_count": ("Picture count", "items with more pictures first"),
    "random": ("Random", "a coin"),
    PLANTED: ("Planted tastes", "the truth the shoppers were drawn with"),
}
