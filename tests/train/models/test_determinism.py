"""No model's training graph holds an operation that a GPU refuses, or computes otherwise each time, under determinism.

A processor has no such check, so the graph is searched for the operations that TensorFlow's documentation of
enable_op_determinism names: https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_op_determinism
"""

from collections.abc import Iterator
from typing import Any

import keras
import pytest
import tensorflow as tf
from manifests import sample_of

from farandole.config.train import Train
from farandole.train import step as step_module
from farandole.train.models import layers as layers_module
from farandole.train.models.build import MODELS, build_model
from farandole.train.step import TrainStep
from farandole.train.tasks.classification import classification

REFUSED = {
    "AdjustContrastv2", "CropAndResizeGradBoxes", "CropAndResizeGradImage", "CTCLoss", "CTCLossV2",
    "DebugNumericSummaryV2", "DepthwiseConv2dNativeBackpropFilter", "DepthwiseConv2dNativeBackpropInput",
    "FakeQuantWithMinMaxVarsGradient", "FakeQuantWithMinMaxVarsPerChannelGradient", "ResizeBicubicGrad",
    "ResizeBilinearGrad", "ResizeNearestNeighborGrad", "ScaleAndTranslateGrad", "SparseTensorDenseMatMul",
}  # fmt: skip
BATCH_NORM_GRADIENTS = {"FusedBatchNormGrad", "FusedBatchNormGradV2", "FusedBatchNormGradV3"}
SAMPLE = sample_of(32, 32, 3, class_names="abcdefghij")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (step_module, layers_module):
        monkeypatch.setattr(module, "sum_tensors", list)


def nodes_of(function: Any) -> Iterator[Any]:
    """Of a concrete function, with those of all functions that it calls."""
    graph = function.graph.as_graph_def()
    yield from graph.node
    for called in graph.library.function:
        yield from called.node_def


def refused(function: Any) -> set[str]:
    """The operations for which a GPU has no deterministic kernel."""
    frozen = {n.op for n in nodes_of(function) if n.op in BATCH_NORM_GRADIENTS and not n.attr["is_training"].b}
    return frozen | {node.op for node in nodes_of(function)} & REFUSED


def trained(model: keras.Model, optimizer: str) -> Any:
    step = TrainStep(model, Train(optimizer=optimizer, other_learning_rate=0.1), SAMPLE, classification(SAMPLE))
    return step._graph.get_concrete_function()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_no_model_needs_an_operation_without_a_deterministic_kernel(name: str, precision: str) -> None:
    model = build_model(name, {}, image_shape=(32, 32, 3), num_classes=10, seed=0, precision=precision)
    function = trained(model, "muon" if name == "whitened_cnn" else "adam")
    assert any("MatMul" in node.op for node in nodes_of(function))  # the model is in there
    assert refused(function) == set()


def test_what_a_gpu_refuses_is_found() -> None:
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.BatchNormalization(trainable=False)(keras.layers.Rescaling(1.0)(inputs))
    x = keras.layers.UpSampling2D(interpolation="bilinear")(
        keras.layers.DepthwiseConv2D(3)(keras.layers.Conv2D(3, 3)(x))
    )
    x = keras.layers.BatchNormalization(trainable=False)(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
    assert refused(trained(model, "adam")) >= {"DepthwiseConv2dNativeBackpropFilter", "ResizeBilinearGrad"}

    @tf.function(input_signature=[tf.TensorSpec([2, 4, 4, 3])], autograph=False)
    def frozen(x: Any) -> Any:
        ones, empty = tf.ones([3]), tf.zeros([0])
        return tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=x, x=x, scale=ones, reserve_space_1=ones, reserve_space_2=ones, reserve_space_3=empty,
            is_training=False,
        ).x_backprop  # fmt: skip

    assert refused(frozen.get_concrete_function()) == {"FusedBatchNormGradV3"}
