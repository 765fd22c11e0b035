"""Training of the weights that the repository ships; only the command `train` imports it."""

import locheads.model  # noqa: F401  mends the import of torchvision, before transformers is imported
