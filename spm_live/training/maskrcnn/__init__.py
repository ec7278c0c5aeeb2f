"""Mask R-CNN (He et al. 2017, arXiv:1703.06870) in Keras 3, written in ``keras.ops`` for any backend."""
