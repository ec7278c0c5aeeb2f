"""``python -m spm_live`` is ``spm-live``."""

from spm_live.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
