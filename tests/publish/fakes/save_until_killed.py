"""Saves frames until it is killed, and says so after each: the program of ``test_store_killed``.

Arguments: the store, the number of the first frame.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from made_results import digest, made

from spm_live.publish.store import FileKey, Store


def main() -> None:
    """Save, and print the number of each frame that was."""
    with Store(Path(sys.argv[1])) as store:
        for number in itertools.count(int(sys.argv[2])):
            source = f"/data/{number}.sxm"
            store.count_crash(digest(number), source)
            # Some of them large, so that checkpoints fall into the race too.
            picture = bytes([number % 256]) * (200_000 if number % 5 == 0 else 100)
            store.save(made(number, molecules=number % 7, picture=picture), file=FileKey(source, number, number))
            print(number, flush=True)


if __name__ == "__main__":
    main()
