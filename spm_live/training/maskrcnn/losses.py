"""The five losses, as published (Ren et al. 2015, arXiv:1506.01497, equation 1; He et al. 2017, arXiv:1703.06870)."""

from __future__ import annotations

from typing import Any


def binary(logits: Any, wanted: Any, weight: Any) -> Any:
    """Weighted mean of the binary cross entropy.

    Parameters
    ----------
    logits, wanted, weight : tensors of one shape
        ``wanted`` in 0 to 1; ``weight`` not negative.

    Returns
    -------
    scalar tensor
        0 where all weights are 0.
    """
    from keras import ops

    # max(x, 0) - x z + log(1 + exp(-|x|)) overflows for no logit.
    value = ops.maximum(logits, 0.0) - logits * wanted + ops.log1p(ops.exp(-ops.abs(logits)))
    return _mean(value, weight)


def categorical(logits: Any, wanted: Any, weight: Any) -> Any:
    """Weighted mean of the cross entropy of (..., K) logits with (...) class numbers."""
    from keras import ops

    top = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    shifted = logits - top
    norm = ops.log(ops.sum(ops.exp(shifted), axis=-1))
    chosen = ops.sum(shifted * ops.one_hot(wanted, logits.shape[-1], dtype=logits.dtype), axis=-1)
    return _mean(norm - chosen, weight)


def smooth_l1(told: Any, wanted: Any, weight: Any) -> Any:
    """Weighted mean over boxes of the smooth L1 loss, summed over the four numbers of a box.

    Parameters
    ----------
    told, wanted : (..., 4) tensor
    weight : (...) tensor
    """
    from keras import ops

    miss = ops.abs(told - wanted)
    value = ops.where(miss < 1.0, 0.5 * miss * miss, miss - 0.5)
    return _mean(ops.sum(value, axis=-1), weight)


def _mean(value: Any, weight: Any) -> Any:
    from keras import ops

    return ops.sum(value * weight) / ops.maximum(ops.sum(weight), 1.0)
