"""A stand-in for CUDA graphs on the CPU: the operations of a step are kept on a tape, and played again in the same memory.

As of a CUDA graph, nothing is computed while a step is recorded; Python code and Python numbers of the step do not run again.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def tensors_of(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def place(tensor):
    return tensor.untyped_storage().data_ptr()


class Listening(TorchDispatchMode):
    """Notes every operation, and what the tensors that it did not make hold before."""

    def __init__(self):
        super().__init__()
        self.calls, self.before, self.made = [], {}, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = tensors_of((args, kwargs))
        for tensor in given:
            if place(tensor) not in self.made | self.before.keys():
                self.before[place(tensor)] = (tensor, tensor.untyped_storage().clone())
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        self.made |= {place(tensor) for tensor in tensors_of(found)} - {place(tensor) for tensor in given}
        return found


class Tape:
    """Records a step by listening to it, then undoing it."""

    def __init__(self):
        self.plain = self.recorded = self.played = 0

    def plainly(self, advance):
        self.plain += 1
        advance()

    def record(self, advance, generator):
        self.recorded += 1
        sources = [torch.default_generator, *([] if generator is None else [generator])]
        states, listening = [source.get_state() for source in sources], Listening()
        with listening:
            advance()
        for tensor, content in listening.before.values():
            tensor.untyped_storage().copy_(content)
        for source, state in zip(sources, states, strict=True):
            source.set_state(state)
        return lambda: self.play(listening.calls)

    def play(self, calls):
        self.played += 1
        with torch.no_grad():
            for func, args, kwargs, made in calls:
                again = func(*args, **kwargs)
                for old, new in zip(tensors_of(made), tensors_of(again), strict=True):
                    if old is not new and old.data_ptr() != new.data_ptr():
                        old.detach().copy_(new)
