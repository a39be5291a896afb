"""Files of Stable-Baselines3 are read without running what is pickled in them."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from prune_search.errors import UserError
from prune_search.importing.normalizer import read_normalizer
from prune_search.importing.stable_baselines import read

POLICY = {"__module__": "stable_baselines3.common.policies"}


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def weights(hidden: int = 6, **more: Tensor) -> dict[str, Tensor]:
    sizes = {
        "mlp_extractor.policy_net.0": (hidden, 4),
        "mlp_extractor.value_net.0": (hidden, 4),
        "action_net": (2, hidden),
        "value_net": (1, hidden),
    }
    found = {f"{name}.weight": torch.randn(size) for name, size in sizes.items()}
    found |= {f"{name}.bias": torch.randn(size[0]) for name, size in sizes.items()}
    return found | more


def write(path: Path, tensors: Any, **data: Any) -> Path:
    stream = io.BytesIO()
    torch.save(tensors, stream)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": POLICY, "gamma": 0.99, **data}))
        archive.writestr("policy.pth", stream.getvalue())
        archive.writestr("_stable_baselines3_version", "2.9.2")
    return path


def test_pickles_in_a_model_are_not_opened(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    serialized = base64.b64encode(pickle.dumps(Touch(mark))).decode()
    kwargs = {
        ":type:": "<class 'dict'>",
        ":serialized:": serialized,
        "activation_fn": "<class 'torch.nn.modules.activation.ReLU'>",
    }
    found = read(write(tmp_path / "ppo.zip", weights(), policy_kwargs=kwargs))
    assert isinstance(found.actor[1], torch.nn.ReLU) and found.critic is not None
    with pytest.raises(UserError, match=r"can't be read as a model of Stable-Baselines3"):
        read(write(tmp_path / "hostile.zip", {"action_net.weight": Touch(mark)}))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("tensors", "data", "told"),
    [
        (weights(), {"use_sde": True}, "use_sde"),
        (weights(), {"policy_class": {"__module__": "sb3_contrib.common"}}, "'sb3_contrib.common'"),
        (weights(), {"policy_kwargs": {"activation_fn": "x.LeakyReLU'>"}}, "activation_fn LeakyRe"),
        (weights(), {"policy_kwargs": {"features_extractor_class": "<'m.Mine'>"}}, "m.Mine"),
        (weights(lstm_actor=torch.ones(2, 2)), {}, "have nothing for 'lstm_actor'"),
        ({"policy.0.weight": torch.ones(2, 2)}, {}, "none of PPO, A2C, DQN, SAC"),
    ],
)
def test_what_rllib_has_not_is_refused_by_name(
    tmp_path: Path, tensors: Any, data: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError) as error:
        read(write(tmp_path / "model.zip", tensors, **data))
    assert str(error.value).startswith("import: ") and told in str(error.value)


def test_a_normalizer_is_read_and_not_run(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "hostile.pkl"
    path.write_bytes(pickle.dumps(Touch(mark)))
    with pytest.raises(UserError, match=r"--normalizer: .* holds no normalisation"):
        read_normalizer(path)
    assert not mark.exists()
