"""ONNX files give the weights of the network they were exported from, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.errors import InputError
from segmentation.interchange.import_checkpoint import convert, fitting, idle_parameters
from segmentation.interchange.onnx_weights import read_weights
from segmentation.networks.architectures import build
from tests.segmentation.small_networks import a_card, lively_state

onnx = pytest.importorskip("onnx")

State = dict[str, torch.Tensor]

CARD = a_card()
STATE = {
    name: tensor
    for name, tensor in lively_state(CARD.model_dump_json()).items()
    if tensor.is_floating_point()
}


def a_graph(
    state: State, file: Path, change: Callable[[onnx.ModelProto], object] = lambda _: None
) -> Path:
    """An ONNX file with these initializers, as an exporter writes them; its graph does nothing."""
    tensors = [onnx.numpy_helper.from_array(t.numpy(), name) for name, t in state.items()]
    tensors.append(onnx.numpy_helper.from_array(np.array([1, 3], np.int64), "onnx::Slice_12"))
    tensors.append(onnx.numpy_helper.from_array(np.array(2.0, np.float32), "val_7"))
    value = onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 64, 64])
    node = onnx.helper.make_node("Relu", ["input"], ["output"])
    graph = onnx.helper.make_graph([node], "main", [value], [], initializer=tensors)
    model = onnx.helper.make_model(graph)
    change(model)
    file.write_bytes(model.SerializeToString())
    return file


def prefixed(prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize(
    "prefix",
    ["", "model.", "module.", "net.", "_orig_mod.", "model.module.", "net._orig_mod.model.module."],
)
def test_parameters_are_those_of_the_network_under_any_prefix(tmp_path: Path, prefix: str) -> None:
    file = a_graph(prefixed(prefix), tmp_path / "model.onnx")
    fitted = fitting(read_weights(file), build(CARD).state_dict(), file, CARD)
    for name, tensor in STATE.items():
        assert torch.equal(fitted[name], tensor), name


def test_a_part_that_was_compiled_alone_has_its_names_back(tmp_path: Path) -> None:
    state = {n.replace("encoder.", "encoder._orig_mod.", 1): t for n, t in STATE.items()}
    assert read_weights(a_graph(state, tmp_path / "model.onnx")).keys() == STATE.keys()


def test_halves_stay_halves(tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in STATE.items()}
    for name, tensor in read_weights(a_graph(halves, tmp_path / "model.onnx")).items():
        assert tensor.dtype == torch.float16
        assert torch.equal(tensor, halves[name])


def test_numbers_may_stand_one_by_one(tmp_path: Path) -> None:
    state: State = {"a.b": torch.tensor([[1.5, -2.0]]), "a.c": torch.tensor([0.25]).half()}

    def listed(model: onnx.ModelProto) -> None:
        del model.graph.initializer[:]
        for name, tensor in state.items():
            kind = onnx.helper.np_dtype_to_tensor_dtype(tensor.numpy().dtype)
            model.graph.initializer.append(
                onnx.helper.make_tensor(name, kind, tensor.shape, tensor.flatten().tolist())
            )

    weights = read_weights(a_graph({}, tmp_path / "model.onnx", listed))
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in state.items())


def test_equal_parameters_that_share_one_initializer_are_both_there(tmp_path: Path) -> None:
    """As torch's exporter writes networks whose batch norms were never trained."""

    def share(model: onnx.ModelProto) -> None:
        model.graph.node.append(onnx.helper.make_node("Identity", ["a.weight"], ["b.weight"]))

    state = {"a.weight": torch.ones(3)}
    weights = read_weights(a_graph(state, tmp_path / "model.onnx", share))
    assert weights.keys() == {"a.weight", "b.weight"}
    assert torch.equal(weights["b.weight"], torch.ones(3))


def export(file: Path, **options: Any) -> torch.nn.Module:
    """A network that torch's exporter wrote to `file`."""
    pytest.importorskip("onnxscript")
    model = build(CARD).eval()
    model.load_state_dict(lively_state(CARD.model_dump_json()))
    torch.onnx.export(model, (torch.zeros(2, 3, 64, 64),), file, **options)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"dynamo": False, "training": torch.onnx.TrainingMode.PRESERVE},
        {"dynamo": True, "optimize": False, "external_data": True},
    ],
    ids=["traced", "dynamo"],
)
@pytest.mark.filterwarnings("ignore")  # torch's exporters are full of deprecations of their own
def test_what_torch_exports_comes_back_and_what_it_never_asked_is_named(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Of this shallow network the encoder's last blocks are built and never asked."""
    model = export(tmp_path / "model.onnx", **options)
    bundle = convert(tmp_path / "model.onnx", CARD, tmp_path / "bundle")
    again = build(bundle.card).eval()
    again.load_state_dict(bundle.weights())
    chip = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(again(chip), model(chip))
    said = str(bundle.card.training["never used, and 0 here"]).split(", ")
    assert said
    assert all(name.startswith("encoder.model.blocks.") for name in said)
    assert all(torch.count_nonzero(bundle.weights()[name]) == 0 for name in said)


@pytest.mark.filterwarnings("ignore")
def test_folded_norms_are_refused_and_not_taken_for_weights(tmp_path: Path) -> None:
    export(tmp_path / "model.onnx", dynamo=False)
    mend = "give the checkpoint that it was exported from"
    with pytest.raises(InputError, match=rf"are missing .* renamed .* {mend}"):
        convert(tmp_path / "model.onnx", CARD, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", ["segmentation_head.0.bias", "encoder.model.bn1.running_var"])
def test_a_parameter_that_counts_may_not_be_missing(name: str) -> None:
    model = build(CARD)
    others = {other: tensor for other, tensor in STATE.items() if other != name}
    assert idle_parameters(model, others, CARD) == {}
    with pytest.raises(InputError, match=rf"1 are missing \({name}\)"):
        fitting(others, model.state_dict(), Path("model.onnx"), CARD)


def beside(location: str, **told: str) -> Callable[[onnx.ModelProto], None]:
    """Keep the first initializer in another file."""

    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = tensor.EXTERNAL
        for key, value in {"location": location, **told}.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def test_weights_may_lie_beside_the_graph(tmp_path: Path) -> None:
    values = np.arange(6, dtype="<f4")
    (tmp_path / "model.data").write_bytes(b"????" + values.tobytes())
    state = {"a.weight": torch.zeros(2, 3)}
    file = a_graph(state, tmp_path / "model.onnx", beside("model.data", offset="4"))
    assert read_weights(file)["a.weight"].numpy().tolist() == values.reshape(2, 3).tolist()


def lengthen(*shape: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = shape

    return change


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (beside("../secret"), r"outside its own folder, in '\.\./secret'"),
        (beside("/etc/passwd"), "outside its own folder"),
        (beside("link"), "outside its own folder"),
        (beside(""), "outside its own folder"),
        (beside("a\0b"), "cannot be read"),
        (beside("absent.data"), "absent.data, which cannot be read"),
        (beside("short.data"), "another number of values in a.weight"),
        (beside("short.data", offset="-4"), "cannot be read"),
        (beside("short.data", offset="far"), "cannot be read"),
        (beside("short.data", offset="9" * 30), "cannot be read"),
        (lengthen(10**9, 10**9), "more than any network here"),
        (lengthen(10**8), "another number of values"),
        (lengthen(-2, -3), "another number of values"),
        (lambda model: model.graph.ClearField("node"), "holds no graph"),
    ],
)
def test_hostile_files_end_in_one_line(
    tmp_path: Path, change: Callable[[onnx.ModelProto], object], what: str
) -> None:
    (tmp_path / "secret").write_bytes(bytes(24))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "in" / "short.data").write_bytes(bytes(8))
    file = a_graph({"a.weight": torch.zeros(2, 3)}, tmp_path / "in" / "model.onnx", change)
    with pytest.raises(InputError, match=what) as refusal:
        read_weights(file)
    assert "\n" not in str(refusal.value)


@given(cut=st.integers(0, 10**4), noise=st.binary(max_size=40))
@settings(max_examples=40, deadline=None)
def test_a_damaged_file_is_refused_or_gives_plain_numbers(cut: int, noise: bytes) -> None:
    with TemporaryDirectory() as folder:
        file = a_graph(
            {"a.weight": torch.ones(20, 30), "b.c.bias": torch.ones(7)}, Path(folder) / "m.onnx"
        )
        whole = file.read_bytes()
        place = cut % len(whole)
        file.write_bytes(whole[:place] + noise)
        with suppress(InputError):
            assert all(t.is_floating_point() for t in read_weights(file).values())


def test_without_the_package_one_line_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_graph(STATE, tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"pip install 'landweave\[onnx\]'"):
        read_weights(file)
