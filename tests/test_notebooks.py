"""Every notebook runs from top to bottom, and what it shows is so."""

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def output(notebook: Any) -> str:
    """All that its cells print."""
    return "".join(
        part["text"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for part in cell.outputs
        if part.output_type == "stream" and part.name == "stdout"
    )


def result(notebook: Any) -> dict[str, Any]:
    """The figures that its last cell prints, as JSON."""
    found: dict[str, Any] = json.loads(output(notebook).splitlines()[-1])
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_stored_outputs_are_of_one_run_without_errors(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {part.output_type for cell in cells for part in cell.outputs}
    assert "error" not in kinds
    assert not any(part.get("name") == "stderr" for cell in cells for part in cell.outputs)


def execute(name: str, folder: Path) -> Any:
    """A notebook, run anew in a folder."""
    copy = folder / f"{name}.ipynb"
    shutil.copy(NOTEBOOKS[0].parent / copy.name, copy)
    notebook = nbformat.read(copy, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}})
    return client.execute()


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return execute("mnist_threshold", tmp_path_factory.mktemp("mnist"))


def test_every_notebook_is_run_here() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "comparing_in_mlflow",
        "dynamic_pruning",
        "from-a-front-point-to-a-device",
        "keras_threshold",
        "lottery_tickets",
        "mnist_threshold",
        "python_face",
        "your_own_parts",
    ]


@pytest.mark.slow
def test_a_search_from_python_and_its_comparison(tmp_path: Path) -> None:
    notebook = execute("python_face", tmp_path)
    shown = [part for cell in notebook.cells for part in cell.get("outputs", [])]
    assert any("image/png" in part.get("data", {}) for part in shown)
    assert any("retention" in part.get("data", {}).get("text/plain", "") for part in shown)
    assert (tmp_path / "small" / "default_policy").is_dir()

    notebook = execute("comparing_in_mlflow", tmp_path)  # of what the first has left
    found = result(notebook)
    assert found["trials"] == 4 and found["front"] >= 1 and 0 < found["sparsest"] < 1
    assert any(
        "image/png" in part.get("data", {})
        for cell in notebook.cells
        for part in cell.get("outputs", [])
    )


@pytest.mark.slow
def test_lottery_tickets_and_their_controls(tmp_path: Path) -> None:
    found = result(execute("lottery_tickets", tmp_path))
    assert found["trials"] == found["rewinds"] == 24
    assert found["zeros differ by"] == 0  # as many weights of each layer, whatever the rewinding
    assert found["rewound"] < 0.3 * found["dense"]
    assert found["first"]["initial"] > found["first"]["random"]


@pytest.mark.slow
def test_dynamic_pruning_follows_a_shift(tmp_path: Path) -> None:
    found = result(execute("dynamic_pruning", tmp_path))
    assert found["ratio before"] >= 0.9 and found["retention at the shift"] < 0.5
    assert found["least ratio after"] < found["ratio before"]
    assert found["ratio at the end"] >= 0.9 and found["retention at the end"] >= 0.9
    assert found["gate"]["gate_pruned"] > 2 and found["gate"]["gate_took_back"] > 0
    assert found["regrown"]["rigl"] > 0 == found["regrown"]["fixed mask"]


@pytest.mark.slow
def test_a_search_of_ones_own_parts(tmp_path: Path) -> None:
    found = result(execute("your_own_parts", tmp_path))
    assert found["states"] == ["complete"] and found["gain"] > 20
    geometric, square_root = found["asked"]["t00"], found["asked"]["t02"]
    assert square_root[0] == pytest.approx(0.95 * (1 / 3) ** 0.5, abs=0.1)
    assert geometric[-1] == square_root[-1] == pytest.approx(0.95)
    sizes = {"reflex": 3 * 8, "thought.0": 32 * 8, "thought.2": 32 * 32, "head": 3 * 32}
    zeros = found["layers"]["t02"]
    left = [(1 - zeros[f"{name}.weight"]) * size for name, size in sizes.items()]
    assert left == pytest.approx([0.05 * sum(sizes.values()) / 4] * 4, abs=1)  # as many each
    kept = found["kept"]
    of_size, of_input = kept["magnitude, round 0"], kept["by_input, round 0"]
    assert sum(of_input[:2]) / sum(of_input) > sum(of_size[:2]) / sum(of_size)
    assert min(kept["dense"]) > 0 == max(kept["by_input, round 3"][2:])
    assert found["stored"]["neuron"] < found["stored"]["weight"] == found["dense"]
    assert found["retention"] >= 0.9


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js, `node`")
def test_from_a_front_point_to_a_device(tmp_path: Path) -> None:
    notebook = execute("from-a-front-point-to-a-device", tmp_path)
    found = result(notebook)
    assert "16 of 16 actions are as they should be" in output(notebook)
    assert found.pop("actions") == [0, 1]  # it pushes to the side that the pole falls to
    point = found.pop("point")
    assert set(found) == {"onnx", "c", "web", "packed"}
    for to, figures in found.items():
        assert figures["bytes"] > 0 and figures["µs"] > 0
        assert to == "packed" or (figures["equal actions"] >= 0.999 and not figures["lost"])
    assert found["packed"]["bytes"] < found["onnx"]["bytes"] < found["c"]["bytes"]
    assert point > 300


@pytest.mark.slow
def test_threshold_pruning_in_keras(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="needs prune-search[keras]")
    found = result(execute("keras_threshold", tmp_path))
    stored = result(nbformat.read(NOTEBOOKS[0].parent / "keras_threshold.ipynb", as_version=4))
    assert found["dense_accuracy"] > 0.88
    assert found["final_accuracy"] >= found["dense_accuracy"] - 0.02
    assert found["final_sparsity"] == pytest.approx(stored["final_sparsity"], abs=0.02)
    assert found["removed_but_not_zero"] == 0
    assert found["reopened_accuracy"] == found["final_accuracy"]
    assert found["reopened_nonzero"] == found["final_nonzero"] < found["dense_nonzero"]
    assert (tmp_path / "digits.keras").is_file()


@pytest.mark.slow
def test_threshold_pruning_on_mnist(mnist: Any) -> None:
    found = result(mnist)
    assert found["dense_accuracy"] > 0.88
    assert found["cut_accuracy"] < found["dense_accuracy"]
    assert found["final_accuracy"] >= found["dense_accuracy"] - 0.02
    assert found["final_accuracy"] >= found["dense_longer_accuracy"] - 0.02
    assert found["removed_but_not_zero"] == 0
    assert found["dense_nonzero"] == 784 * 128 + 128 + 128 * 10 + 10
    assert found["final_nonzero"] == found["dense_nonzero"] - found["removed"]
    assert found["final_sparsity"] == pytest.approx(found["removed"] / found["dense_nonzero"])
    assert found["final_sparsity"] > 0.7


@pytest.mark.slow
def test_the_stored_figures_of_mnist_agree_with_a_new_run(mnist: Any) -> None:
    stored = result(nbformat.read(NOTEBOOKS[0].parent / "mnist_threshold.ipynb", as_version=4))
    found = result(mnist)
    for name in ("dense_accuracy", "final_accuracy", "final_sparsity"):
        assert found[name] == pytest.approx(stored[name], abs=0.02)  # other CPUs round otherwise
