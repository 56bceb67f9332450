"""The command line: ``surrogate VERB [KEY=VALUE ...]``.

Wrong input ends in one line on standard error and exit code 2, with nothing half-written; anything else that goes wrong
in exit code 1, one line, and a traceback in the log of the run; Ctrl-C in 130.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import linecache
import os
import sys
import traceback
from collections.abc import Sequence

from omegaconf import OmegaConf

from surrogate import manual
from surrogate.compose import compose
from surrogate.runs import LOG, Run, log

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

_OPTIONS = ("--config", "--traceback")
_HELP = ("-h", "--help")
# What the operating system says about a file that the user named.
_FILE_ERRORS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what a command line says; returns the exit code.

    Args:
        argv: words after ``surrogate``; default those of the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _answer(words)
    except BrokenPipeError:  # the reader, as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _answer(words: list[str]) -> int:
    """Help, version, or a verb."""
    if not words or words[0] in _HELP:
        print(manual.overview())
        return DONE
    if words[0] == "--version":
        print(f"surrogate {importlib.metadata.version('micromacro')}")
        return DONE
    verb, *words = words
    if verb not in manual.verbs():
        close = difflib.get_close_matches(verb, manual.verbs(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return _complain("surrogate", f"verb: got {verb!r}, wanted one of {', '.join(manual.verbs())}{hint}")
    if any(word in _HELP for word in words):
        print(manual.page(verb))
        return DONE
    options = {word for word in words if word in _OPTIONS}
    return _do(verb, [word for word in words if word not in _OPTIONS], options)


def _do(verb: str, overrides: Sequence[str], options: set[str]) -> int:
    """Compose the configuration and run a verb."""
    run = None
    try:
        config = compose([*_missing_defaults(verb, overrides), *overrides])
        if "--config" in options:
            print(OmegaConf.to_yaml(config, resolve=True), end="")
            return DONE
        run = Run(verb, config, overrides)
        return int(importlib.import_module(f"surrogate.verbs.{verb.replace('-', '_')}").run(run))
    except KeyboardInterrupt:
        sentence = "nothing was finished; start the same command again" if run is None else run.if_interrupted
        log.warning("interrupted")
        return _complain(f"surrogate {verb}", f"interrupted: {sentence}", INTERRUPTED)
    except BrokenPipeError:  # for `main`: the reader has seen enough
        raise
    except Exception as error:
        if "--traceback" in options:
            traceback.print_exc()
        if is_wrong_input(error):
            if run is not None:
                run.withdraw()
            return _complain(f"surrogate {verb}", one_line(error))
        return _give_up(verb, run, error)
    finally:
        if run is not None:
            run.close()


def _missing_defaults(verb: str, overrides: Sequence[str]) -> list[str]:
    """What a verb starts from, less what the command line says about the same."""
    said = {word.partition("=")[0] for word in overrides}
    return [default for default in manual.manual(verb).defaults if default.partition("=")[0] not in said]


def is_wrong_input(error: BaseException) -> bool:
    """Whether an error says that the input was wrong: our own code raised it as such, or a named file is not there.

    A ValueError or TypeError that comes out of a library, or out of a slip in our own code, is a fault of the program.
    """
    if isinstance(error, _FILE_ERRORS):
        return True
    return isinstance(error, ValueError | TypeError) and _raised_by_us(error)


def one_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _raised_by_us(error: BaseException) -> bool:
    """Whether the innermost statement is a ``raise`` in one of our packages."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    ours = [os.path.dirname(importlib.import_module(name).__file__ or "") for name in ("datagen", "surrogate")]
    last = frames[-1]
    inside = any(
        os.path.commonpath([last.filename, folder]) == folder for folder in ours if os.path.isabs(last.filename)
    )
    return inside and linecache.getline(last.filename, last.lineno or 0).strip().startswith("raise ")


def _give_up(verb: str, run: Run | None, error: Exception) -> int:
    """A fault of the program or of the machine: the traceback goes to the log."""
    said = f"{type(error).__name__}: {one_line(error)}"
    if run is None:
        traceback.print_exc()
        return _complain(f"surrogate {verb}", said, FAILED)
    try:
        run.open()
    except (OSError, ValueError):  # no place for a log
        traceback.print_exc()
        return _complain(f"surrogate {verb}", said, FAILED)
    log.error("%s", said, exc_info=error)
    return _complain(f"surrogate {verb}", f"{said} (traceback in {run.folder / LOG})", FAILED)


def _complain(who: str, what: str, code: int = WRONG_INPUT) -> int:
    print(f"{who}: {what}", file=sys.stderr)
    return code
