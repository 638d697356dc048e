"""Compute a cell of the supernet as one differentiable function.

The sums of the nodes are side by side in one matrix (n, nodes * C), to which the edges of every
state add. This matrix is the output of the cell. Backwards the states come in reverse, so that the
gradient of a node is complete when the edges into it need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from helpers.darts.folding import (
    block_diagonal,
    column_means,
    diagonal_blocks,
    required,
    to_maps,
    to_rows,
)
from helpers.darts.linear_pieces import max_pool
from helpers.darts.mixed import EdgeBlock
from helpers.darts.shared import SharedMaps

# Below this many channels all edges of a state share one block-diagonal product: narrower matrices
# leave the processor's vector units idle.
MERGE_BELOW = 16
# Edges are computed together if their maps have no more than this many numbers: more do not fit the
# cache of a core (measured on two cores with 2 MB each).
BLOCK_NUMBERS = 1 << 19


class Plan(NamedTuple):
    """The shape of a cell."""

    nodes: int
    partial: int  # K: 1/K of the channels go through the operations
    reduction: bool

    @property
    def states(self) -> range:
        """Return the states that edges leave: the two inputs and all nodes but the last."""
        return range(self.nodes + 1)

    def targets(self, state: int) -> range:
        """Return the nodes that an edge from `state` reaches."""
        return range(max(0, state - 1), self.nodes)

    def edges(self, state: int) -> list[int]:
        """Return the rows of alpha that belong to the edges from `state`."""
        return [node * (node + 3) // 2 + state for node in self.targets(state)]

    @property
    def by_state(self) -> Tensor:
        """Return the rows of alpha in the order of the states that edges leave."""
        return _by_state(self)

    def stride(self, state: int) -> int:
        """Return 2 for the edges from the two inputs of a reduction cell, else 1."""
        return 2 if self.reduction and state < 2 else 1


@lru_cache(maxsize=64)
def _by_state(plan: Plan) -> Tensor:
    return torch.tensor([edge for state in plan.states for edge in plan.edges(state)])


def shuffle(mixed: Tensor, bypass: Tensor, partial: int) -> Tensor:
    """Interleave rows (n, C/K) and (n, C - C/K) as K groups (arXiv 1907.05737, figure 1)."""
    rows = torch.cat([mixed, bypass], dim=1)
    return rows.unflatten(1, (partial, -1)).transpose(1, 2).flatten(1)


def unshuffle(rows: Tensor, partial: int) -> tuple[Tensor, Tensor]:
    """Invert `shuffle`."""
    channels = rows.shape[1]
    rows = rows.unflatten(1, (-1, partial)).transpose(1, 2).flatten(1)
    return rows.split([channels // partial, channels - channels // partial], dim=1)


class _State:
    """A state's maps, the blocks of edges that leave it, and the channels that bypass them."""

    def __init__(self, plan: Plan, index: int, x: Tensor, scale: Tensor, weights: tuple) -> None:
        self.plan, self.index, self.stride = plan, index, plan.stride(index)
        self.channels = x.shape[1] // plan.partial
        self.first_node = plan.targets(index)[0]
        self.rest: Tensor | None = None
        if plan.partial > 1:
            x = self._split(x)
        self.shared = SharedMaps(x, self.stride)
        dw3, dw5, pw, reduce = weights
        self.merged = self.channels < MERGE_BELOW
        together = max(1, BLOCK_NUMBERS // self.shared.features[:, : self.channels].numel())
        together = pw.shape[1] if self.merged else together
        self.blocks: list[EdgeBlock] = []
        for start in range(0, pw.shape[1], together):
            part = slice(start, start + together)
            block_pw = pw[:, part]
            if self.merged:
                block_pw = block_diagonal(block_pw)
            elif block_pw.shape[1] == 1:
                block_pw = block_pw.squeeze(1)
            block_reduce = None if reduce is None else reduce[part]
            own = (scale[:, part], dw3[:, part], dw5[:, part], block_pw, block_reduce)
            self.blocks.append(EdgeBlock(*own))

    def _split(self, x: Tensor) -> Tensor:
        rest = x[:, self.channels :].contiguous(memory_format=torch.channels_last)
        self.pool_input: Tensor | None = None
        self.pool_index: Tensor | None = None
        if self.stride == 2:
            self.pool_input = rest
            rest, self.pool_index = max_pool(rest, 2, 2, 0, ceil=True)
        self.rest = to_rows(rest)
        return x[:, : self.channels].contiguous(memory_format=torch.channels_last)

    def columns(self, nodes: Tensor) -> list[Tensor]:
        """Return the columns of (n, nodes * C) to which each block adds."""
        sizes = [block.edges * self.channels for block in self.blocks]
        return list(nodes[:, self.first_node * self.channels :].split(sizes, dim=1))

    def forward(self, mixed: Tensor, bypass: Tensor | None, beta: Tensor | None) -> None:
        """Add all edges that leave the state to the sums of the nodes."""
        for block, columns in zip(self.blocks, self.columns(mixed), strict=True):
            block.forward(self.shared, columns)
        if bypass is not None:
            weights = required(beta, "beta")[self.plan.edges(self.index)][:, None]
            nodes = bypass.unflatten(1, (self.plan.nodes, -1))[:, self.first_node :]
            nodes.addcmul_(required(self.rest, "the bypass")[:, None], weights)

    def backward(
        self, g: Tensor, g_mean: Tensor, need_weights: bool
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Return gradients of the operations' input and weights from centred ones of the nodes."""
        grads = []
        pairs = zip(self.blocks, self.columns(g), self.columns(g_mean[None]), strict=True)
        for block, columns, mean in pairs:
            own = block.backward(self.shared, columns, mean[0], need_weights)
            dscale, ddw3, ddw5, dpw, dreduce = own
            if dpw is not None and (self.merged or block.edges == 1):
                dpw = diagonal_blocks(dpw, block.edges)
            grads.append((dscale, ddw3, ddw5, dpw, dreduce))
        self.blocks = []
        joined = [
            parts[0] if parts[0] is None or len(parts) == 1 else torch.cat(parts, dim=dim)
            for parts, dim in zip(zip(*grads, strict=True), (1, 1, 1, 1, 0), strict=True)
        ]
        return self.shared.backward(), joined

    def backward_bypass(
        self, dx: Tensor | None, g: Tensor, beta: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """Return dx of all channels, and the gradient of the edges' beta."""
        weights = beta[self.plan.edges(self.index)]
        nodes = g.unflatten(1, (self.plan.nodes, -1))[:, self.first_node :]
        dbeta = (nodes * required(self.rest, "the bypass")[:, None]).sum((0, 2))
        if dx is None:
            return None, dbeta
        drest = to_maps((nodes * weights[:, None]).sum(1), self.shared.coarse)
        if self.stride == 2:
            geometry = ([2, 2], [2, 2], [0, 0], [1, 1], True)
            drest = torch.ops.aten.max_pool2d_with_indices_backward(
                drest, self.pool_input, *geometry, self.pool_index
            )
        return torch.cat([dx, drest], dim=1), dbeta


class _MixedCell(torch.autograd.Function):
    """See `mixed_cell`."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        x0: Tensor,
        x1: Tensor,
        scale: Tensor,
        beta: Tensor | None,
        *weights: Tensor | None,
    ) -> Tensor:
        """Return the maps of the nodes; the states stay with ctx for one backward pass."""
        states: list[_State] = []
        scales = scale[:, plan.by_state].split([len(plan.edges(s)) for s in plan.states], dim=1)
        values = [x0, x1]
        batch, channels, height, width = x0.shape
        stride, own_channels = plan.stride(0), channels // plan.partial
        n = batch * -(-height // stride) * -(-width // stride)
        mixed = x0.new_zeros(n, plan.nodes * own_channels)
        bypass = None
        if plan.partial > 1:
            bypass = x0.new_zeros(n, plan.nodes * (channels - own_channels))
        for index in plan.states:
            if index >= 2:
                values.append(_node_value(plan, index - 2, mixed, bypass, states[0].shared.coarse))
            own = weights[4 * index : 4 * index + 4]
            state = _State(plan, index, values[index], scales[index], own)
            states.append(state)
            state.forward(mixed, bypass, beta)
        like = states[0].shared.coarse
        ctx.plan, ctx.states, ctx.channels = plan, states, channels
        ctx.save_for_backward(scale, beta)
        if plan.partial == 1:
            return to_maps(mixed, like)
        last = _node_value(plan, plan.nodes - 1, mixed, bypass, like)
        return torch.cat([*values[2:], last], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x0, x1, scale, beta and, if needed, the weights."""
        plan, states, c = ctx.plan, ctx.states, ctx.channels
        if states[0] is None:
            raise RuntimeError("a supernet's backward pass can be done once: run it forward again")
        scale, beta = ctx.saved_tensors
        need_weights = any(ctx.needs_input_grad[5:])
        g = to_rows(grad).clone()  # (n, nodes * C)
        width = c // plan.partial
        g_mixed, g_bypass = g, None
        if plan.partial > 1:
            g_mixed = g.new_empty(len(g), plan.nodes * width)
            g_bypass = g.new_empty(len(g), plan.nodes * (c - width))
        g_mean = g.new_zeros(plan.nodes * width)
        dscales: list = [None] * len(states)
        dbeta = None if beta is None else torch.empty_like(beta)
        dweights: list = [None] * (4 * len(states))
        dinputs: list = [None, None]
        complete = plan.nodes
        for index in reversed(plan.states):
            while complete > plan.targets(index)[0]:
                complete -= 1
                _complete_node(plan, complete, g, g_mixed, g_bypass, g_mean)
            if index < 2:
                states[index].shared.need_gradient = ctx.needs_input_grad[1 + index]
            dx, (dscales[index], *own) = states[index].backward(g_mixed, g_mean, need_weights)
            if g_bypass is not None and dbeta is not None:
                dx, dbeta[plan.edges(index)] = states[index].backward_bypass(dx, g_bypass, beta)
            dweights[4 * index : 4 * index + 4] = own
            states[index] = None
            if index >= 2:
                g[:, (index - 2) * c : (index - 1) * c] += to_rows(dx)
            else:
                dinputs[index] = dx
        dscale = torch.empty_like(scale)
        dscale[:, plan.by_state] = torch.cat(dscales, dim=1)
        return None, *dinputs, dscale, dbeta, *dweights


def _node_value(
    plan: Plan, node: int, mixed: Tensor, bypass: Tensor | None, like: Tensor
) -> Tensor:
    width = mixed.shape[1] // plan.nodes
    value = mixed[:, node * width : (node + 1) * width]
    if bypass is not None:
        rest = bypass.shape[1] // plan.nodes
        value = shuffle(value, bypass[:, node * rest : (node + 1) * rest], plan.partial)
    return to_maps(value.contiguous(), like)


def _complete_node(
    plan: Plan, node: int, g: Tensor, g_mixed: Tensor, g_bypass: Tensor | None, g_mean: Tensor
) -> None:
    """Split the complete gradient of a node into its two parts and centre the mixed one."""
    c = g.shape[1] // plan.nodes
    width = c // plan.partial
    columns = slice(node * width, (node + 1) * width)
    if g_bypass is not None:
        rest = slice(node * (c - width), (node + 1) * (c - width))
        own = unshuffle(g[:, node * c : (node + 1) * c], plan.partial)
        g_mixed[:, columns], g_bypass[:, rest] = own
    part = g_mixed[:, columns]
    g_mean[columns] = column_means(part)
    part -= g_mean[columns]


def mixed_cell(
    plan: Plan,
    x0: Tensor,
    x1: Tensor,
    scale: Tensor,
    beta: Tensor | None,
    weights: Sequence[Tensor | None],
) -> Tensor:
    """Return the nodes (B, nodes * C, H, W) of a cell with states 0 and 1 = x0, x1 (B, C, H, W).

    scale (7, edges) weighs all operations but `none`. With partial channels beta (edges,) weighs
    the channels that bypass them. `weights` are dw3, dw5, pw and reduce of every state in turn, as
    in `supernet.StateEdges`. Differentiable once.
    """
    return _MixedCell.apply(plan, x0, x1, scale, beta, *weights)
