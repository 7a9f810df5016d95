"""Training and loading with an `EpochSampler` in one process of several, under each library; `sampling_jobs.py` starts them.

Each function returns run ("whole", "resumed") -> (epoch, indices) of each batch, and what else a test compares.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from longtail.errors import UserError
from longtail.losses import CrossEntropyLoss
from longtail.sampling import EpochSampler
from longtail.weighting import deferred, power

BATCH = 16  # of all processes together
STOP = (1, 2)  # the epoch and the number of its batches after which a run is broken off
COUNTS = [50.0, 40.0, 30.0, 20.0, 10.0]  # that losses are built for
Shown = list[tuple[int, list[int]]]
Batch = dict[str, torch.Tensor]


class Images(Dataset):
    """Images whose only pixel is their index; counts fall by a factor of ten over five classes."""

    def __init__(self, images: int) -> None:
        shares = 10 ** -torch.linspace(0, 1, 5)
        self.labels = torch.multinomial(shares, images, replacement=True, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return {"pixel": torch.tensor([index / 100]), "labels": self.labels[index]}


class Network(nn.Module):
    """Five logits of a pixel, from weights that are zero at first; it keeps the indices of each batch, and its epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.shown = nn.Linear(1, 5), []
        self.epoch: Callable[[], int] = lambda: 0
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, pixel: torch.Tensor, labels: torch.Tensor | None = None) -> Batch:
        self.shown.append((self.epoch(), indices_of({"pixel": pixel})))
        return {"logits": self.layer(pixel)}

    def values(self) -> list[float]:
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters()]).tolist()


class Job:
    """One process: its images, sampler and loader."""

    def __init__(self, rank: int, world: int, given: Namespace) -> None:
        self.rank, self.world, self.epochs, self.folder = rank, world, given.epochs, given.folder
        self.images = Images(given.images)
        self.stop = STOP[0] * -(-given.images // BATCH) + STOP[1]  # steps from the beginning

    def sampler(self, **place: int) -> EpochSampler:
        return EpochSampler(self.images.labels, rule=power, seed=5, epochs=self.epochs, **place)

    def loader(self, sampler: EpochSampler, workers: int = 0) -> DataLoader:
        return DataLoader(self.images, batch_size=BATCH // self.world, sampler=sampler, num_workers=workers)

    def rest(self, loader: DataLoader, first: int = 0) -> Shown:
        return [(epoch, indices_of(batch)) for epoch in range(first, self.epochs) for batch in loader]


def indices_of(batch: Batch) -> list[int]:
    return (100 * batch["pixel"]).round().long().flatten().tolist()


def plain(job: Job) -> dict[str, Any]:
    torch.distributed.init_process_group("gloo")
    sampler, state, whole = job.sampler(), {}, []
    for epoch in range(job.epochs):
        sampler.set_epoch(epoch)
        for batch in job.loader(sampler):
            whole.append((epoch, indices_of(batch)))
            if (epoch, sum(of == epoch for of, _ in whole)) == STOP:
                state = sampler.state_dict()
    sampler = job.sampler()
    sampler.load_state_dict(state)
    return {"whole": whole, "resumed": job.rest(job.loader(sampler), state["epoch"])}


def fabric(job: Job) -> dict[str, Any]:
    from lightning_fabric import Fabric

    runner = Fabric(accelerator="cpu", devices=job.world, strategy="ddp" if job.world > 1 else "auto")
    runner.launch()
    loader = runner.setup_dataloaders(job.loader(job.sampler()))
    sampler = job.sampler()
    sampler.load_state_dict({"epoch": STOP[0], "offset": STOP[1] * BATCH})
    return {"whole": job.rest(loader), "resumed": job.rest(job.loader(sampler), STOP[0])}


def lightning(job: Job) -> dict[str, Any]:
    from pytorch_lightning import LightningModule, Trainer
    from pytorch_lightning.callbacks import ModelCheckpoint

    from longtail.integrations.lightning import EpochWeights, SamplerPlace

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.loss, self.weights = Network(), CrossEntropyLoss(COUNTS), []
            self.network.epoch = lambda: self.current_epoch

        def training_step(self, batch: Batch, number: int) -> torch.Tensor:
            self.weights.append((self.current_epoch, self.loss.weight.tolist()))
            return self.loss(self.network(batch["pixel"])["logits"], batch["labels"])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.network.parameters(), lr=0.1)

    def fit(checkpoint: str | None = None, workers: int = 0, max_steps: int = -1) -> Module:
        module, sampler = Module(), job.sampler()
        callbacks = [SamplerPlace(sampler), EpochWeights(module.loss, partial(deferred, rule=power, start=0.5))]
        if checkpoint is None:
            kept = {"filename": "{step}", "every_n_train_steps": job.stop, "save_top_k": -1}
            callbacks.append(ModelCheckpoint(job.folder, **kept if max_steps == -1 else {"save_last": True}))
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        place = {"accelerator": "cpu", "devices": job.world, "strategy": "ddp" if job.world > 1 else "auto"}
        until = {"max_epochs": job.epochs, "max_steps": max_steps}
        trainer = Trainer(**place, **quiet, **until, callbacks=callbacks, enable_checkpointing=checkpoint is None)
        trainer.fit(module, job.loader(sampler, workers), ckpt_path=checkpoint)
        return module

    kept = f"{job.folder}/step={job.stop}.ckpt"
    whole, resumed, worked = fit(), fit(kept), fit(kept, workers=1)
    fit(max_steps=job.stop)
    stopped, also = fit(f"{job.folder}/last.ckpt"), fit(f"{job.folder}/last.ckpt", workers=1)
    shown = {"whole": whole.network.shown, "resumed": resumed.network.shown, "resumed with workers": worked.network.shown}
    shown |= {"after max_steps": stopped.network.shown, "after max_steps with workers": also.network.shown}
    refused = [
        message_of(lambda: SamplerPlace(job.sampler()).on_train_start(SimpleNamespace(train_dataloader=[1]), whole)),
        message_of(lambda: EpochWeights(whole.loss, power).on_train_start(SimpleNamespace(max_epochs=-1), whole)),
    ]
    return {**shown, "weights": whole.weights, "resumed weights": resumed.weights, "refused": refused}


def accelerate(job: Job) -> dict[str, Any]:
    from accelerate import Accelerator

    accelerator, sampler = Accelerator(cpu=True), job.sampler(world=1)
    loader = accelerator.prepare(job.loader(sampler))
    whole = job.rest(loader)
    loader.set_epoch(STOP[0])
    sampler.load_state_dict({"epoch": STOP[0], "offset": STOP[1] * BATCH})
    return {"whole": whole, "resumed": job.rest(loader, STOP[0])}


def transformers(job: Job) -> dict[str, Any]:
    from transformers import TrainingArguments

    from longtail.integrations.transformers import SampledTrainer, loss_function

    def train(accumulated: int = 1, checkpoint: str | None = None, **place: int) -> Network:
        network = Network()
        options = TrainingArguments(
            job.folder,
            per_device_train_batch_size=BATCH // job.world // accumulated,
            gradient_accumulation_steps=accumulated,
            num_train_epochs=job.epochs,
            use_cpu=True,
            optim="sgd",
            learning_rate=0.1,
            lr_scheduler_type="constant",
            max_grad_norm=0,
            save_strategy="no" if checkpoint or accumulated > 1 else "steps",
            save_steps=job.stop,
            report_to="none",
            ddp_find_unused_parameters=False,
            disable_tqdm=True,
            logging_strategy="no",
        )
        loss = loss_function(CrossEntropyLoss(COUNTS))
        sampler = job.sampler(**place or {"world": 1})
        trainer = SampledTrainer(network, options, train_dataset=job.images, sampler=sampler, compute_loss_func=loss)
        network.epoch = lambda: int(trainer.state.epoch or 0)
        trainer.train(resume_from_checkpoint=checkpoint)
        return network

    whole, twice, resumed = train(), train(accumulated=2), train(checkpoint=f"{job.folder}/checkpoint-{job.stop}")
    refused = [message_of(lambda: train(rank=0, world=2)), message_of(lambda: loss_function(Network()))]
    values = {"whole values": whole.values(), "accumulated values": twice.values()}
    return {"whole": whole.shown, "accumulated": twice.shown, "resumed": resumed.shown, "refused": refused, **values}


def message_of(call: Callable[[], object]) -> str:
    try:
        call()
    except UserError as error:
        return str(error)
    return "nothing was refused"
