"""Model cards and data cards: what a trained model is, is made from, is worth and is not for, from its run."""
