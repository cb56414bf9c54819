from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.deployment.graph import canonical


def tiny(weight: float) -> onnx.ModelProto:
    """y = w * x, as an exporter leaves it: with notes of its machine on every level."""
    node = helper.make_node("Mul", ["x", "w"], ["y"], name="mul", doc_string="/home/somebody/train.py(12): forward")
    constant = numpy_helper.from_array(np.array([weight], np.float32), "w")
    graph = helper.make_graph(
        [node],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"], doc_string="/home/somebody/x")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [constant],
        doc_string="/home/somebody/model.py",
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    for message in (model, graph, node, constant):
        entry = message.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.stack_trace", 'File "/home/somebody/train.py", line 12'
    model.graph.CopyFrom(graph)
    return model


def test_notes_go_and_the_numbers_stay(tmp_path: Path):
    source, target = tmp_path / "raw.onnx", tmp_path / "model.onnx"
    onnx.save(tiny(3.0), source)
    assert b"somebody" in source.read_bytes()
    canonical(source, target)
    assert b"somebody" not in target.read_bytes() and b"stack_trace" not in target.read_bytes()
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.array([2.0, 5.0], np.float32)})[0].tolist() == [6.0, 15.0]


def test_weights_kept_in_a_second_file_come_inside(tmp_path: Path):
    source, target = tmp_path / "raw.onnx", tmp_path / "out" / "model.onnx"
    target.parent.mkdir()
    onnx.save(tiny(3.0), source, save_as_external_data=True, location="raw.onnx.data", size_threshold=0)
    canonical(source, target)
    (tmp_path / "raw.onnx.data").unlink()
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.array([2.0], np.float32)})[0].tolist() == [6.0]


def test_what_is_no_valid_graph_is_refused(tmp_path: Path):
    broken = tiny(1.0)
    broken.graph.node[0].input[1] = "nowhere"
    onnx.save(broken, tmp_path / "raw.onnx")
    with pytest.raises(onnx.checker.ValidationError):
        canonical(tmp_path / "raw.onnx", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
