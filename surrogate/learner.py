"""Learning: two optimisers and a LightningModule that knows no architecture."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau

from datagen.laws.law import Law
from surrogate.data import Records
from surrogate.losses import EnergyLoss, respond

# torch's L-BFGS forgets a pair of updates with y . s < 1e-10, an absolute number: a loss of 1e-6 would stop learning.
_LBFGS_SCALE = 1e8
# A loss that is not finite becomes a large one, from which a line search comes back.
_NOT_FINITE = 1e12


@dataclass(frozen=True)
class Adam:
    """First phase: Adam on minibatches of paths.

    Args:
        epochs: passes over the training paths.
        learning_rate: step size at the start.
        batch_size: paths in a minibatch; None: all.
        schedule: "cosine" (down to a hundredth at the last epoch), "plateau" (halved after a tenth of the epochs
            without a better validation loss) or "constant".

    Raises:
        ValueError: a number that is not positive, a schedule that is not one of these.

    Reference:
        D. P. Kingma, J. Ba, ICLR 2015, arXiv:1412.6980.
    """

    epochs: int = 100
    learning_rate: float = 5e-3
    batch_size: int | None = 16
    schedule: str = "cosine"

    name = "adam"

    def __post_init__(self) -> None:
        _positive(self, "epochs", "learning_rate", "batch_size")
        if self.schedule not in ("cosine", "plateau", "constant"):
            raise ValueError(f"adam: got schedule {self.schedule!r}, wanted cosine, plateau or constant")

    def optimiser(self, weights: Iterable[Tensor]) -> Optimizer:
        """The optimiser over these weights."""
        return torch.optim.Adam(weights, lr=self.learning_rate)

    def scheduler(self, optimiser: Optimizer) -> LRScheduler | ReduceLROnPlateau | None:
        """How the learning rate falls, stepped once per epoch; None: it does not."""
        if self.schedule == "cosine":
            return CosineAnnealingLR(optimiser, self.epochs, eta_min=self.learning_rate / 100)
        if self.schedule == "plateau":
            return ReduceLROnPlateau(optimiser, factor=0.5, patience=max(1, self.epochs // 10))
        return None


@dataclass(frozen=True)
class LBFGS:
    """Second phase: L-BFGS on all paths at once, with a line search for the strong Wolfe conditions.

    It ends before ``iterations`` when the line search can no longer improve the loss.

    Args:
        iterations: at most so many in all.
        per_epoch: iterations between two validations.
        history: update pairs kept.
        tolerance: largest entry of the gradient of the loss at which it ends.

    Raises:
        ValueError: a number that is not positive.

    Reference:
        J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., 2006, algorithms 7.5, 3.5 and 3.6.
    """

    iterations: int = 1500
    per_epoch: int = 25
    history: int = 100
    tolerance: float = 1e-12

    name = "lbfgs"
    batch_size = None

    def __post_init__(self) -> None:
        _positive(self, "iterations", "per_epoch", "history", "tolerance")

    @property
    def epochs(self) -> int:
        """Number of validations."""
        return math.ceil(self.iterations / self.per_epoch)

    def optimiser(self, weights: Iterable[Tensor]) -> Optimizer:
        """The optimiser over these weights; one of its steps is ``per_epoch`` iterations."""
        return torch.optim.LBFGS(
            list(weights),
            max_iter=min(self.per_epoch, self.iterations),
            max_eval=2 * self.per_epoch,
            tolerance_grad=self.tolerance * _LBFGS_SCALE,
            tolerance_change=0.0,  # as long as the line search finds a lower loss
            history_size=self.history,
            line_search_fn="strong_wolfe",
        )

    def scheduler(self, optimiser: Optimizer) -> None:
        """None: the line search chooses its steps."""
        return


Phase = Adam | LBFGS


def _positive(phase: Phase, *names: str) -> None:
    for name in names:
        value = getattr(phase, name)
        if value is not None and not value > 0:
            raise ValueError(f"{phase.name}: got {name} = {value}, wanted > 0")


class Learner(lightning.LightningModule):
    """One phase of training of any differentiable law.

    It keeps the weights with the lowest validation loss in ``best`` and one entry per epoch in ``history``; the
    network itself holds the last ones until `restore` is called.

    Args:
        network: the law to train; its parameters are what is learned.
        loss: a loss whose variances are set (`EnergyLoss.fit`).
        phase: how.
        best_loss: validation loss of the weights that the network comes with, if known.
    """

    def __init__(self, network: Law, loss: EnergyLoss, phase: Phase, best_loss: float = math.inf) -> None:
        super().__init__()
        self.network, self.loss, self.phase = network, loss, phase
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = copy.deepcopy(network.state_dict())
        self.best_loss = best_loss
        self._entry: dict[str, Any] = {}
        self._losses: list[Tensor] = []
        self._start = 0.0
        self._stalls = 0
        self._iterations = 0

    def forward(self, records: Records) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss on these paths and its terms."""
        return self.loss(respond(self.network, records, "tangent" in self.loss.weights), records)

    def training_step(self, records: Records, batch: int) -> Tensor:
        """The loss that is differentiated; L-BFGS calls it many times in a step."""
        total, _ = self(records)
        self._losses.append(total.detach())
        if isinstance(self.phase, LBFGS):
            return torch.nan_to_num(total * _LBFGS_SCALE, nan=_NOT_FINITE, posinf=_NOT_FINITE)
        return total

    def validation_step(self, records: Records, batch: int) -> None:
        """Loss and terms on the validation paths, for the history and the choice of the best weights."""
        total, parts = self(records)
        self._entry["validation"] = float(total)
        self._entry["terms"] = {name: float(part) for name, part in parts.items()}
        self.log("validation", total, batch_size=records.n_paths)

    def on_fit_start(self) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_epoch_start(self) -> None:
        """A new entry of the history."""
        self._entry = {"phase": self.phase.name, "epoch": self.current_epoch + 1}
        self._losses = []

    def on_validation_epoch_end(self) -> None:
        """Keep the weights if they are the best so far."""
        value = self._entry["validation"]
        if value < self.best_loss:
            self.best_loss = value
            self.best = {name: x.detach().clone() for name, x in self.network.state_dict().items()}

    def on_train_epoch_end(self) -> None:
        """Close the entry of the history; end the phase where it cannot go on."""
        losses = torch.stack(self._losses)
        # Minibatches are averaged; of all evaluations of a line search the lowest is the one it ends at.
        train = float(losses.mean() if isinstance(self.phase, Adam) else losses.min())
        self._entry |= {"seconds": time.perf_counter() - self._start, "train": train, "evaluations": len(losses)}
        self.history.append(self._entry)
        if not math.isfinite(train) or not math.isfinite(self._entry["validation"]):
            self.trainer.should_stop = True
        if isinstance(self.phase, LBFGS) and self._stalled():
            self.trainer.should_stop = True

    def _stalled(self) -> bool:
        """Whether the line search fails twice in a row, the second time along the gradient itself."""
        optimiser = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimiser, torch.optim.LBFGS)
        state = next(iter(optimiser.state.values()))
        done, self._iterations = state["n_iter"] - self._iterations, state["n_iter"]
        if done > 1:
            self._stalls = 0
            return False
        self._stalls += 1
        optimiser.state.clear()
        self._iterations = 0
        return self._stalls > 1

    def configure_optimizers(self) -> Any:
        """The phase's optimiser and schedule, in Lightning's form."""
        optimiser = self.phase.optimiser(self.network.parameters())
        scheduler = self.phase.scheduler(optimiser)
        if scheduler is None:
            return optimiser
        plan = {"scheduler": scheduler, "interval": "epoch", "monitor": "validation"}
        return {"optimizer": optimiser, "lr_scheduler": plan}

    def restore(self) -> None:
        """Put the best weights into the network; raises FloatingPointError if no epoch had a finite loss."""
        if not math.isfinite(self.best_loss):
            raise FloatingPointError(
                f"training: the loss is nan from the first {self.phase.name} epoch on; check the "
                f"data for outliers, or lower the learning rate"
            )
        self.network.load_state_dict(self.best)
