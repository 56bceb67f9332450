"""The folder of one run: the resolved configuration, a log, a report, and what the verb writes."""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from surrogate.table import Table

CONFIG, LOG, REPORT = "config.yaml", "log.txt", "report.html"
RUNS = "runs"

log = logging.getLogger("surrogate")


class Run:
    """One run of a verb. Nothing is written before `open`; `withdraw` takes back what `open` wrote.

    Args:
        verb: what is done.
        config: resolved configuration; ``folder`` is where, null for a new folder under ``runs``.
        overrides: of the command line, for the record.

    Attributes:
        folder: where the run writes.
        if_interrupted: what Ctrl-C leaves and how to go on, in a sentence; the verb sets it as it proceeds.
    """

    def __init__(self, verb: str, config: DictConfig, overrides: Sequence[str] = ()) -> None:
        self.verb, self.config, self.overrides = verb, config, list(overrides)
        self.folder = _new_folder(verb) if config.folder is None else Path(str(config.folder))
        self.if_interrupted = "nothing was finished; start the same command again"
        self.started = time.time()
        self._handler: logging.Handler | None = None
        self._made: list[Path] = []
        self._before: str | None = None

    @property
    def command(self) -> str:
        """What was typed."""
        return shlex.join(["surrogate", self.verb, *self.overrides])

    @property
    def command_to_resume(self) -> str:
        """What to type to go on in the same folder."""
        others = [word for word in self.overrides if not word.startswith("folder=")]
        return shlex.join(["surrogate", self.verb, *others, f"folder={self.folder}"])

    @property
    def resolved(self) -> str:
        """The resolved configuration as YAML."""
        return OmegaConf.to_yaml(self.config, resolve=True)

    def open(self) -> None:
        """Make the folder, write the configuration, begin the log; once.

        Raises:
            ValueError: a folder that holds something else than a run of this verb.
        """
        if self._handler is not None:
            return
        self._check_folder()
        for missing in reversed([p for p in (self.folder, *self.folder.parents) if not p.exists()]):
            missing.mkdir()
            self._made.append(missing)
        config = self.folder / CONFIG
        self._before = config.read_text(encoding="utf-8") if config.exists() else None
        config.write_text(f"# {self.command}\n{self.resolved}", encoding="utf-8")
        self._handler = logging.FileHandler(self.folder / LOG, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        root.addHandler(self._handler)
        logging.captureWarnings(True)
        for name in ("surrogate", "datagen"):
            logging.getLogger(name).setLevel(logging.INFO)
        log.info("%s", self.command)

    def say(self, text: str) -> None:
        """One line for the reader, and into the log."""
        print(text, flush=True)
        log.info("%s", text)

    def show(self, table: Table) -> None:
        """A table for the reader, and into the log."""
        table.show()
        log.info("%s: %s", table.title, [list(table.columns), *([str(c) for c in row] for row in table.rows)])

    def close(self) -> None:
        """End the log."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler.close()
            self._handler = None
            logging.captureWarnings(False)

    def withdraw(self) -> None:
        """Take back what `open` wrote, unless more was finished: wrong input leaves nothing half-written."""
        if self._handler is None:
            return
        self.close()
        if self._before is not None:
            (self.folder / CONFIG).write_text(self._before, encoding="utf-8")
            return
        if any(path.name not in (CONFIG, LOG) for path in self.folder.iterdir()):
            return  # what is finished stays usable, and the folder that of a run which can go on
        for name in (CONFIG, LOG):
            (self.folder / name).unlink(missing_ok=True)
        for folder in reversed(self._made):
            if any(folder.iterdir()):
                return
            folder.rmdir()

    def _check_folder(self) -> None:
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise ValueError(f"folder: got {self.folder}, which is a file, wanted a folder")
        config = self.folder / CONFIG
        if config.is_file():
            words = config.read_text(encoding="utf-8").partition("\n")[0].split()
            verb = words[2] if len(words) > 2 and words[:2] == ["#", "surrogate"] else "something else"
            if verb != self.verb:
                raise ValueError(f"folder: got {self.folder}, which is of a run of {verb}, wanted one of its own")
        elif any(self.folder.iterdir()):
            raise ValueError(f"folder: got {self.folder}, which holds other files, wanted a new or empty folder")


def _new_folder(verb: str) -> Path:
    """``runs/<date>-<time>-<verb>``, numbered if two runs begin in the same second."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{verb}"
    folder, k = Path(RUNS) / stem, 1
    while os.path.lexists(folder):
        k += 1
        folder = Path(RUNS) / f"{stem}-{k}"
    return folder
