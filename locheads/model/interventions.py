"""Changes what single heads put out, in any family: removed, replaced, or taken from another pass.

A head's output at a token is its slice of what the attention's output projection reads. A hook on that
projection's input therefore reaches every head alone, whatever happens before it (gates, grouped keys), and
leaves the other heads' slices as they are, bit by bit. Setting a slice to zero is the same as setting the
columns of the projection's weight that read it to zero.

All tokens of all passes that run inside `changed` are changed. Where only the tokens after the picture are
meant, run only those inside (`shared_image.SharedImage`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import nn

from locheads.errors import LocheadsError
from locheads.method.selection import check_heads
from locheads.model.attention import Heads
from locheads.model.lvlm import Lvlm

Outputs = Float[torch.Tensor, "batch tokens head dim"]
"""What the heads of one layer put out."""
Change = Callable[[int, Outputs], Outputs]
"""From a layer, counted as in maps, and its heads' outputs, the outputs to go on with."""

_PROJECTIONS = ("o_proj", "out_proj", "dense")
"""Names of the attention's output projection in the decoders of transformers."""


def output_projections(lvlm: Lvlm) -> dict[int, nn.Module]:
    """Returns the output projection of every layer with softmax attention: layer, as in maps → module.

    Raises:
        LocheadsError: The decoder's attention has no output projection of a known name.
    """
    found: dict[int, nn.Module] = {}
    for module in lvlm.model.get_decoder().modules():
        layer = getattr(module, "layer_idx", None)
        names = [name for name, _ in module.named_children() if name in _PROJECTIONS]
        if layer in lvlm.attending and names:
            found[lvlm.attending.index(layer)] = getattr(module, names[0])
    if len(found) < lvlm.layers:
        raise LocheadsError(
            f"{lvlm.name}: {lvlm.layers - len(found)} layers have no output projection of a known name "
            f"({', '.join(_PROJECTIONS)}), so that their heads cannot be changed"
        )
    return dict(sorted(found.items()))


@contextmanager
def changed(lvlm: Lvlm, change: Change) -> Iterator[None]:
    """Changes the heads' outputs of every pass within the block; afterwards the model is as before.

    Args:
        lvlm: The model.
        change: Called once per layer and pass; returns outputs of the same shape.

    Raises:
        LocheadsError: As `output_projections`.
    """

    def hook(layer: int) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def before(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            outputs = given[0].unflatten(-1, (lvlm.heads, -1))
            return (change(layer, outputs).flatten(-2), *given[1:])

        return before

    with ExitStack() as hooks:
        for layer, projection in output_projections(lvlm).items():
            handle = projection.register_forward_pre_hook(hook(layer))
            hooks.callback(handle.remove)
        yield


@contextmanager
def recorded(lvlm: Lvlm) -> Iterator[dict[int, Outputs]]:
    """Records the heads' outputs of the last pass within the block, by layer.

    Inside `changed`, the outputs before a change are recorded or those after it, in the order of the blocks.
    """
    outputs: dict[int, Outputs] = {}

    def keep(layer: int, given: Outputs) -> Outputs:
        outputs[layer] = given.clone()
        return given

    with changed(lvlm, keep):
        yield outputs


@dataclass(frozen=True)
class Replace:
    """Replaces the outputs of chosen heads at all tokens: a `Change`.

    Attributes:
        heads: Which heads, for each row of the batch or, with one row, for all.
        values: Layer → what stands in their place, of a shape that expands to `batch × tokens × head × dim`.
            None: zeros.
    """

    heads: Bool[torch.Tensor, "batch layer head"]
    values: Mapping[int, torch.Tensor] | None = None

    def __call__(self, layer: int, outputs: Outputs) -> Outputs:
        """Returns the outputs with the chosen heads replaced; those of the others are the same bits."""
        heads = self.heads[:, layer, None, :, None].to(outputs.device)
        values = outputs.new_zeros(()) if self.values is None else self.values[layer].to(outputs)
        # Several rows may stand one after another in one sequence, as in `SharedImage.next_word`.
        apart = outputs if len(heads) == 1 else outputs.reshape(len(heads), -1, *outputs.shape[2:])
        return torch.where(heads, values, apart).reshape(outputs.shape)


def chosen(lvlm: Lvlm, choices: Sequence[Heads]) -> Bool[torch.Tensor, "batch layer head"]:
    """Returns which heads each row of a batch chooses, for `Replace` and `steering.Steer`.

    Raises:
        LocheadsError: A head does not exist.
    """
    found = torch.zeros(len(choices), lvlm.layers, lvlm.heads, dtype=torch.bool)
    for row, heads in zip(found, choices, strict=True):
        check_heads(heads, lvlm.layers, lvlm.heads, lvlm.name)
        for layer, head in heads:
            row[layer, head] = True
    return found
