"""Loads checkpoints in LLaVA's own layout, and its descendants', into classes of transformers.

The layout is that of github.com/haotian-liu/LLaVA: a language model's `config.json` with `mm_…` keys;
weights `model.layers.…`, `model.mm_projector.…` and `lm_head`; the vision tower under
`model.vision_tower.vision_tower.…`, or in a folder or repository that `mm_vision_tower` names. LLaVA,
LLaVA-1.5, ShareGPT4V, Yi-VL, InternVL-6B and Mini-Gemini were published so. No file is written, and every
weight is used or named in an error.
"""
