"""The specimen: scenes, expressions, and the models trained on them."""
