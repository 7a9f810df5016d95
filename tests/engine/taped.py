"""A stand-in for CUDA graphs on the CPU: the operations of a step are kept on a tape, and played again in the same memory.

As of a CUDA graph, nothing is computed while a step is recorded; Python code and Python numbers of the step do not run again.
"""

from dataclasses import replace

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from longtail import settings
from longtail.engine.devices import make_compute
from longtail.engine.training import train_stages
from longtail.runs.run import Run
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import with_epochs

SETTING = replace(settings.digits_lt(), epochs=2, largest_batch=24)
WHOLE = SETTING.data(None)
ROWS = np.concatenate([np.flatnonzero(WHOLE.train.labels == label)[:24] for label in range(10)])
FEW = replace(WHOLE, train=WHOLE.train.take(ROWS))


class OnTheSpot:
    """Records by remembering: the step is called again, on the chunk that was kept."""

    def __init__(self):
        self.recorded = self.played = self.plain = 0

    def plainly(self, advance):
        self.plain += 1
        advance()

    def record(self, advance, generator):
        self.recorded += 1

        def play():
            self.played += 1
            advance()

        return play


def trained(build, folder, *, device="cpu", replay=None, epochs=2, data=FEW, **changed):
    compute = make_compute(device, "32-true", deterministic=device == "cuda")
    recipe = with_epochs(build(SETTING), epochs)
    recipe = replace(recipe, stages=tuple(replace(stage, **changed) for stage in recipe.stages))
    experiment = Experiment(recipe, SETTING, data, precision="32-true")
    model, history = train_stages(experiment, Run(folder), compute, replay=replay)
    return model.state_dict(), [(entry["loss"], entry["learning_rate"]) for entry in history]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


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
        given = [] if generator is None else generator if isinstance(generator, tuple) else [generator]
        sources = [torch.default_generator, *given]
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
