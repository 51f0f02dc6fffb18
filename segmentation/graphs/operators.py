"""Which operators a graph may have, and which of them hand on a NaN.

All are of ONNX's own domain and give the same numbers each time. https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Mapping

OPSETS = range(11, 26)
"""Versions of the operators whose meaning is known here."""

# One after the other: of windows; of single numbers; of many; of places.
_HANDING_ON = """
Conv ConvTranspose AveragePool MaxPool GlobalAveragePool GlobalMaxPool LpPool

Relu LeakyRelu PRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Erf Gelu
Mish Swish Clip Add Sub Mul Div Pow Sqrt Exp Log Neg Abs Reciprocal Sum Mean Sin Cos

BatchNormalization InstanceNormalization GroupNormalization LayerNormalization RMSNormalization
MeanVarianceNormalization LpNormalization LRN Softmax LogSoftmax ReduceMean ReduceSum ReduceL2
ReduceSumSquare MatMul Gemm Einsum Resize Upsample

Pad Concat Split Slice Transpose Reshape Flatten Squeeze Unsqueeze Expand Tile Gather DepthToSpace
SpaceToDepth Identity Dropout Cast
"""

HANDING_ON = frozenset(_HANDING_ON.split())
"""A NaN that goes in comes out, wherever the outcome depends on it, in ONNX Runtime without its
optimisations. (MaxPool is measured as AveragePool, which sees the same.)"""

# Where the first of these meet what follows from pixels, nobody can say how far a NaN would have
# gone. From the last no pixel can be told.
_OTHERS = """
Min Max ReduceMax ReduceMin ReduceL1 ReduceLogSumExp ReduceProd Where Equal Greater Less
GreaterOrEqual LessOrEqual And Or Not Sign Floor Ceil Round Mod CumSum Trilu GatherElements GatherND
ScatterND ScatterElements GridSample Attention RotaryEmbedding QuantizeLinear DequantizeLinear
CastLike ThresholdedRelu Hardmax ArgMax TopK OneHot EyeLike

Shape Size Constant ConstantOfShape Range
"""

ALLOWED = HANDING_ON | frozenset(_OTHERS.split())
"""All other operators are refused: loops and branches, sequences, text, chance, code of others."""

TRAINING: Mapping[str, str] = {"BatchNormalization": "training_mode", "Dropout": ""}
"""Operators that do another thing in training, and the attribute that says so; Dropout has an input
for it."""

BOUNDS: Mapping[str, tuple[int, int]] = {
    "kernel_shape": (1, 4096),
    "strides": (1, 4096),
    "dilations": (1, 4096),
    "pads": (0, 65536),
    "output_padding": (0, 4096),
    "output_shape": (1, 65536),
    "group": (1, 65536),
    "num_groups": (1, 65536),
    "blocksize": (1, 4096),
    "num_outputs": (1, 65536),
    "size": (1, 4096),
}
"""Least and largest whole number of an attribute, wherever it stands."""
