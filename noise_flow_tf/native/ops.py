"""What a flow consists of, as the compiled core sees it."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple


class OpCode(IntEnum):
    """The operations of the core, by what they do to noise of 4 channels towards the latent.

    Attributes:
        SIGNAL: noise / sqrt(beta1 * max(clean, 0) + beta2).
        GAIN: noise / gamma.
        MIX: each pixel times the matrix P L U.
        COUPLING: the last half of the channels scaled and shifted by a network of the first half.
    """

    SIGNAL = 1
    GAIN = 2
    MIX = 3
    COUPLING = 4


class Op(NamedTuple):
    """One operation of a flow, with its parameters.

    With B the number of images and w the width of the network, the parameters are:

    | code | parameters |
    | --- | --- |
    | SIGNAL | beta1 `[B]`, beta2 `[B]` |
    | GAIN | gamma `[B]` |
    | MIX | permutation `[4, 4]`, signs `[4]`, log_diagonal `[4]`, lower `[6]`, upper `[6]` |
    | COUPLING | kernel1 `[3, 3, 2, w]`, bias1 `[w]`, mean1 `[w]`, variance1 `[w]`, kernel2 \
`[1, 1, w, w]`, bias2 `[w]`, mean2 `[w]`, variance2 `[w]`, kernel3 `[3, 3, w + 1, 4]`, bias3 \
`[4]`, logs `[4]`, rescaling `[]` |

    Attributes:
        code: what it computes.
        parameters: tensors, or what is read at each use, as a variable is.
        reference: makes the bijector of TensorFlow from the parameters, or from tensors in their
            place; a pure function of them.
        averages: of a coupling, batch norm's variables mean1, variance1, mean2, variance2, which
            training moves by 0.1 of the difference to the batch's moments.
    """

    code: OpCode
    parameters: tuple[Any, ...]
    reference: Callable[..., Any]
    averages: tuple[Any, ...] = ()
