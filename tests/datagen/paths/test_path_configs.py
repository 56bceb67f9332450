"""Every configured sampler keeps the contract: paths that start small, stay driven, and repeat with their seed."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from datagen.paths.path import LoadPath

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "path"


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_configured_sampler_gives_paths(config):
    node = OmegaConf.load(config)
    path, again, other = instantiate(node), instantiate(node), instantiate(node, seed=1)
    assert isinstance(path, LoadPath)
    assert path.path_class == config.stem
    assert (path.n_paths, path.n_steps) == (node.n_paths, node.n_steps)
    assert torch.equal(path.target, again.target)
    assert not torch.equal(path.target, other.target)
