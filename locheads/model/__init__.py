"""The frozen model: loading, prompts, families, capture of attention rows, the segmenter.

Importing any module of this package first repairs the import of torchvision (see `_torchvision`), which
transformers and segment_anything need.
"""

from locheads.model import _torchvision  # noqa: F401
