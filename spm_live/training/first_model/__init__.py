"""The small dense network behind ``synthetic-small``, older than the Mask R-CNN beside it (docs/adr/0006).

``python -m spm_live.training.first_model --work DIR`` makes the model again; nothing else uses this package.
"""
