"""What verbs work with, made from the configuration: the law, the load paths, the network, the problem."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from datagen.laws.law import Law, Measure
from datagen.paths.path import LoadPath
from datagen.rve.homogenised import HomogenisedCell
from datagen.store import Store
from datagen.tensors import det
from surrogate.compose import build
from surrogate.device import choose_device, choose_threads
from surrogate.law import load
from surrogate.macro.problem import Problem


def device_of(config: DictConfig) -> torch.device:
    """The device that ``device`` names; sets the number of threads that ``threads`` says."""
    choose_threads(config.threads)
    return choose_device(config.device)


def law_of(config: DictConfig) -> Law:
    """The law on its device: the saved one in the folder ``checkpoint`` if there is one, else what ``law`` describes.

    This one line of configuration is the difference between live FE2 and a surrogate.
    """
    device = device_of(config)
    law = build(config.law) if config.checkpoint is None else load(str(config.checkpoint))
    if not isinstance(law, Law):
        raise TypeError(f"law: got {type(law).__name__}, wanted a Law")
    return law.to(device)


def paths_of(config: DictConfig, law: Law) -> dict[str, list[LoadPath]]:
    """The load paths by dataset, one batch for each sampler.

    The seed of each sampler is its own plus ``seed``. A cell with several microstructures takes them in turn: path i
    has sample i modulo their number.
    """
    datasets: dict[str, list[LoadPath]] = {}
    for name, samplers in config.paths.items():
        batches = []
        if not isinstance(samplers, Mapping | DictConfig) or not samplers:
            raise ValueError(f"paths.{name}: got {samplers!r}, wanted samplers by name")
        for key in samplers:
            path = _seeded(samplers[key], config.seed)
            if not isinstance(path, LoadPath):
                raise TypeError(f"paths.{name}.{key}: got {type(path).__name__}, wanted a LoadPath")
            _check_fold(f"paths.{name}.{key}", path)
            batches.append(_with_samples(path, law).to(law.dtype, law.device))
        datasets[str(name)] = batches
    if not datasets:
        raise ValueError("paths: got none, wanted at least one dataset with a sampler")
    return datasets


def _check_fold(place: str, path: LoadPath) -> None:
    """Refuse a path that turns the body inside out, which its strains tell before anything is solved."""
    if path.measure is not Measure.FINITE or path.stress_components:
        return
    J = det(path.target.unflatten(-1, (3, 3)))
    if not bool((J > 0).all()):
        member, step = (int(k) for k in torch.nonzero(~(J > 0))[0])
        raise ValueError(
            f"{place}: path {member} folds the cell at step {step + 1}, det F = {float(J[member, step]):.2g}; "
            f"wanted det F > 0 on the whole path"
        )


def network_of(config: DictConfig, store: Store) -> Law:
    """The network that ``network`` describes, to be trained on a dataset; its seed is its own plus ``seed``.

    One made for all components (null) is made for those that the dataset drives; the configuration then says so.
    """
    if config.network.get("components", ()) is None and config.network.measure == store.measure.value:
        config.network.components = list(store.components)
    network = _seeded(config.network, config.seed)
    if not isinstance(network, Law):
        raise TypeError(f"network: got {type(network).__name__}, wanted a Law")
    return network


def problem_of(config: DictConfig) -> Problem:
    """The macro problem that ``macro`` describes."""
    problem = build(config.macro)
    if not isinstance(problem, Problem):
        raise TypeError(f"macro: got {type(problem).__name__}, wanted a Problem")
    return problem


def folder_named(config: DictConfig, key: str, made_by: str) -> Path:
    """The folder that a setting names; raises ValueError where it names none."""
    if config[key] is None:
        raise ValueError(f"{key}: got null, wanted the folder of {made_by}: {key}=FOLDER")
    return Path(str(config[key]))


def _seeded(node: DictConfig, seed: int) -> Any:
    return build(node, seed=node.seed + seed) if OmegaConf.is_dict(node) and "seed" in node else build(node)


def _with_samples(path: LoadPath, law: Law) -> LoadPath:
    if law.parameter_names != ("sample",) or not isinstance(law, HomogenisedCell):
        return path
    sample = torch.arange(path.n_paths, dtype=torch.float64) % law.microstructure.n_samples
    return path.with_parameters(sample[:, None].to(path.target.device))
