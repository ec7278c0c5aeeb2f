"""How wrong the network is."""

from __future__ import annotations

from typing import Any

from spm_live.training.first_model.network import BOX_CHANNELS


class MapLoss:
    """Loss of the output map against its targets.

    Parameters
    ----------
    classes : int
        Number of heat maps.

    Notes
    -----
    Heat: penalty-reduced focal loss (Zhou et al. 2019, arXiv:1904.07850, eq. 1). Box: absolute error over the size of
    the box, around centres. On-molecule: cross entropy and Dice (Milletari et al. 2016, arXiv:1606.04797). Way to the
    centre: absolute error on molecules.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def __call__(self, wanted: Any, raw: Any) -> Any:
        """Add the four parts up.

        Parameters
        ----------
        wanted : (B, H, W, classes + 9) tensor
            :meth:`spm_live.training.first_model.targets.Targets.stacked`.
        raw : (B, H, W, classes + 7) tensor
            Output map.

        Returns
        -------
        scalar tensor
        """
        return self.heat(wanted, raw) + self.box(wanted, raw) + self.on(wanted, raw) + self.way(wanted, raw)

    def heat(self, wanted: Any, raw: Any) -> Any:
        """Focal loss of the centres, a centre."""
        from keras import ops

        n = self.classes
        peak, weight, logit = wanted[..., :n], wanted[..., n : n + 1], raw[..., :n]
        probability = ops.sigmoid(logit)
        centre = ops.cast(peak > 0.999, "float32")
        hit = centre * (1 - probability) ** 2 * ops.softplus(-logit)
        miss = (1 - centre) * (1 - peak) ** 4 * probability**2 * ops.softplus(logit)
        return ops.sum((hit + miss) * weight) / ops.maximum(ops.sum(centre), 4.0)

    def box(self, wanted: Any, raw: Any) -> Any:
        """Absolute error of the four distances over the size of the box."""
        from keras import ops

        n = self.classes
        box = wanted[..., n + 1 : n + 1 + BOX_CHANNELS]
        weight = wanted[..., n + 1 + BOX_CHANNELS : n + 2 + BOX_CHANNELS]
        size = ops.sum(box, axis=-1, keepdims=True) / 4
        error = ops.abs(ops.softplus(raw[..., n : n + BOX_CHANNELS]) - box) / (size + 0.1)
        return ops.sum(error * weight) / ops.maximum(4 * ops.sum(weight), 1.0)

    def on(self, wanted: Any, raw: Any) -> Any:
        """Cross entropy and Dice loss of lying on a molecule."""
        from keras import ops

        on, logit = wanted[..., -3], raw[..., -3]
        entropy = ops.mean(ops.softplus(logit) - logit * on)
        probability = ops.sigmoid(logit)
        dice = (2 * ops.sum(probability * on) + 1) / (ops.sum(probability) + ops.sum(on) + 1)
        return entropy + 1 - dice

    def way(self, wanted: Any, raw: Any) -> Any:
        """Absolute error of the way to the centre, on molecules."""
        from keras import ops

        on = wanted[..., -3:-2]
        error = ops.abs(raw[..., -2:] - wanted[..., -2:]) * on
        return ops.sum(error) / ops.maximum(ops.sum(on), 1.0)
