"""``python -m spm_live.training.first_model``."""

from spm_live.training.first_model.make import main

if __name__ == "__main__":
    raise SystemExit(main())
