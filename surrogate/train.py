"""Train a network on recorded paths: from a store to a folder with a law in it."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import safetensors.torch
import torch

from datagen.laws.law import Law
from datagen.progress import ProgressView
from surrogate.data import Dataset, PathData, Source
from surrogate.device import choose_device
from surrogate.evaluate import Evaluation, evaluate, json_able
from surrogate.law import CARD, CONFIG, WEIGHTS, save
from surrogate.learner import LBFGS, Adam, Learner, Phase
from surrogate.losses import EnergyLoss
from surrogate.networks.network import Network


def train(
    source: Source | Dataset,
    network: Law,
    loss: EnergyLoss | None = None,
    adam: Adam | None = Adam(),  # noqa: B008  (frozen)
    lbfgs: LBFGS | None = LBFGS(),  # noqa: B008
    train_classes: Sequence[str] | None = None,
    validation: float = 0.15,
    seed: int = 0,
    device: str | torch.device = "auto",
    folder: str | Path | None = None,
    overwrite: bool = False,
    command: str = "",
    show: bool = True,
) -> Law:
    """Train a network on recorded paths and return it with the weights that validate best.

    The network's scales and domain of trust are fitted to the training paths, then Adam and L-BFGS minimise the loss
    on them; every epoch the validation paths judge. On one device with one number of threads the same arguments give
    the same weights to the last bit; few points are learned on one thread, whatever torch is set to. Ctrl-C ends
    training after the current epoch, saves the best weights so far with ``interrupted`` on the card, and raises
    KeyboardInterrupt; a second one ends at once.

    Args:
        source: a store, its folder, a `Record`, several of them or a dictionary of arrays (`Dataset.read`).
        network: a `Network`, or any law whose parameters can be learned; it is changed in place.
        loss: default that of configs/loss/energy.yaml.
        adam: first phase; None skips it.
        lbfgs: second phase; None skips it.
        train_classes: path classes to learn from; default all.
        validation: fraction of the paths of every class that is kept back to choose the weights.
        seed: for the split and the order of minibatches.
        device: "auto" (CUDA if there is one), or a torch device.
        folder: where the law is saved, with history.json (loss of every epoch) and the weights after each phase in
            checkpoints/; default: nothing is written.
        overwrite: whether a law in the folder may be replaced.
        command: what the card says it was made with.
        show: whether to show progress.

    Returns:
        The network, on the device, in evaluation mode, its weights without gradient, as `surrogate.law.load` has it.

    Raises:
        ValueError: data and network that do not fit, too few paths, or a missing tangent.
        TypeError: a law that is no `Network` is to be saved.
        FileExistsError: the folder holds a law already.
        FloatingPointError: a loss that is nan from the first epoch on.
        KeyboardInterrupt: after Ctrl-C, once everything is saved.

    Example:
        >>> from datagen.laws.neo_hooke import NeoHooke
        >>> from datagen.paths.drive import drive
        >>> from datagen.paths.proportional import proportional
        >>> from surrogate.networks.energy import EnergyNetwork
        >>> components = ("11", "12", "21", "22")
        >>> record = drive(NeoHooke(mu=1.0, lmbda=2.0), proportional("finite", components, 24, 6, 0.1, seed=0))
        >>> network = EnergyNetwork("finite", components, symmetry="isotropic", widths=(8, 8))
        >>> law = train(record, network, adam=Adam(epochs=20), lbfgs=LBFGS(iterations=100), show=False)
        >>> evaluate(law, record).classes["proportional"].stress.median < 0.01
        True
    """
    phases: list[Phase] = [phase for phase in (adam, lbfgs) if phase is not None]
    if not phases:
        raise ValueError("adam, lbfgs: got None for both, wanted at least one phase")
    where = choose_device(device)
    data = PathData(source, validation, train_classes, seed=seed, device=where)
    data.dataset.check(network)
    if not any(p.requires_grad for p in network.parameters()):
        raise ValueError(f"network: {type(network).__name__} has no weights that may change; see requires_grad_()")
    home = None if folder is None else _home(Path(folder), network, overwrite)

    network.to(device=where, dtype=torch.float64)
    loss = EnergyLoss(stress=1.0, psi=0.3, work=0.1, dissipation=1.0) if loss is None else loss
    with _threads_worth_their_while(data):
        if isinstance(network, Network):
            r = data.train.records
            network.calibrate(r.strain[:, 1:].flatten(0, 1), r.answer.stress.flatten(0, 1))
        history, interrupted = _learn(network, loss.fit(data.train), phases, data, home, show)
    network.eval().requires_grad_(False)
    if home is not None and isinstance(network, Network):
        found = evaluate(network, data.validation, exactness=not interrupted, seed=seed)
        save(network, home, _card(data, loss, phases, found, history, seed, command, interrupted), overwrite)
    if interrupted:
        saved = f"; the best weights so far are in {home}" if home else ""
        raise KeyboardInterrupt(f"training was interrupted{saved}")
    return network


def _home(folder: Path, network: Law, overwrite: bool) -> Path:
    """The folder, once it is clear that the law can be saved there: an error after training would come too late."""
    if not isinstance(network, Network):
        raise TypeError(f"folder: only a Network can be saved, got {type(network).__name__}; wanted folder=None")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}: is a file, wanted a folder to write a law to")
    if not overwrite and any((folder / name).exists() for name in (CARD, CONFIG, WEIGHTS)):
        raise FileExistsError(f"{folder}: holds a law already, wanted another folder or overwrite=True")
    return folder


def _learn(
    network: Law, loss: EnergyLoss, phases: list[Phase], data: PathData, home: Path | None, show: bool
) -> tuple[list[dict[str, Any]], bool]:
    """Run the phases one after the other; the history, and whether Ctrl-C ended them."""
    history: list[dict[str, Any]] = []
    best = float("inf")
    with _View("train", sum(phase.epochs for phase in phases), "epochs", show=show) as view:
        for phase in phases:
            network.train()
            learner = Learner(network, loss, phase, best)
            watch = _Watch(view, home)
            data.batch_size = phase.batch_size
            _fit(learner, data, watch)
            learner.restore()
            best = learner.best_loss
            history += learner.history
            watch.write(learner)
            _write_history(home, history)
            if watch.interrupted:
                return history, True
    return history, False


def _fit(learner: Learner, data: PathData, watch: _Watch) -> None:
    """One `Trainer.fit`, silent, with no files of Lightning's, stopped by Ctrl-C at the end of an epoch."""
    where = data.train.records.strain.device
    with _silence():
        trainer = lightning.Trainer(
            accelerator="gpu" if where.type == "cuda" else "cpu",
            devices=[where.index or 0] if where.type == "cuda" else 1,
            max_epochs=learner.phase.epochs,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            inference_mode=False,
            callbacks=[watch],
        )
        with watch.interrupts():
            try:
                trainer.fit(learner, datamodule=data)
            except SystemExit as end:  # what Lightning makes of a KeyboardInterrupt
                raise KeyboardInterrupt("training was interrupted") from end


class _View(ProgressView):
    """The progress view, with the validation loss."""

    loss = math.inf

    def words(self, ended: bool = False) -> str:
        """See `ProgressView.words`."""
        loss = f", validation loss {self.loss:.1e}" if math.isfinite(self.loss) else ""
        return f"{super().words(ended)}{loss}"


class _Watch(lightning.Callback):
    """Shows progress, writes the best weights now and then, and listens for Ctrl-C."""

    def __init__(self, view: _View, home: Path | None) -> None:
        self.view, self.home, self.interrupted = view, home, False
        self._written = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        """After every epoch. An epoch is never cut: its end is where weights have been validated."""
        assert isinstance(learner, Learner)
        self.view.loss = learner.best_loss
        self.view.advance(1)
        if self.interrupted:
            trainer.should_stop = True
        if time.monotonic() - self._written > 10.0:
            self.write(learner)

    def write(self, learner: Learner) -> None:
        """The best weights of this phase, written aside and renamed."""
        if self.home is None:
            return
        target = self.home / "checkpoints" / f"{learner.phase.name}.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        weights = {name: x.detach().cpu().contiguous() for name, x in learner.best.items()}
        safetensors.torch.save_file(weights, target.with_suffix(".tmp"))
        os.replace(target.with_suffix(".tmp"), target)
        self._written = time.monotonic()

    @contextlib.contextmanager
    def interrupts(self) -> Iterator[None]:
        """The first Ctrl-C ends training after this epoch, the second at once; Lightning's own answer is sys.exit."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def stop(number: int, frame: FrameType | None) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _worth(data: PathData) -> int:
    """Threads that training on so many points keeps busy.

    Layers of 32 neurons on 1300 points take 12 ms with one thread and 13 ms with two; on a machine that others use
    too, two wait for each other and take 1 s.
    """
    return min(torch.get_num_threads(), 1 + data.train.records.dt.numel() // 8192)


@contextlib.contextmanager
def _threads_worth_their_while(data: PathData) -> Iterator[None]:
    """With the number of threads that `_worth` says, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(_worth(data))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without Lightning's hints about devices, loaders and cloud services, and its warning about torch's own names."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _write_history(home: Path | None, history: list[dict[str, Any]]) -> None:
    if home is not None:
        home.mkdir(parents=True, exist_ok=True)
        text = ",\n".join(json.dumps(json_able(entry)) for entry in history)
        (home / "history.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")


def _card(
    data: PathData,
    loss: EnergyLoss,
    phases: list[Phase],
    found: Evaluation,
    history: list[dict[str, Any]],
    seed: int,
    command: str,
    interrupted: bool,
) -> dict[str, Any]:
    """What the card says: made from what, how, how good, within what range."""
    strain = data.train.records.strain[..., data.train.columns].flatten(0, 1)
    ranges = zip(data.train.components, strain.amin(0).tolist(), strain.amax(0).tolist(), strict=True)
    return {
        "command": command,
        "interrupted": interrupted,
        "data": {
            "sha256": data.dataset.sha256,
            "path_classes": list(data.train.classes),
            "steps": data.train.records.dt.shape[1],
            "train_paths": data.train.records.n_paths,
            "validation_paths": data.validation.records.n_paths,
            "failed_paths": data.dataset.n_failed,
        },
        "driven strain": {name: [low, high] for name, low, high in ranges},
        "training": {
            "loss": loss.weights,
            **{phase.name: vars(phase) for phase in phases},
            "seed": seed,
            "epochs": len(history),
            "threads": _worth(data),
            "device": str(strain.device),
        },
        "errors on validation paths, median and 95th percentile": found.summary(),
        "exactness": found.exactness,
    }
