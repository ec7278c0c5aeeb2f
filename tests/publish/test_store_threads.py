from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from made_results import digest, made

from spm_live.publish.store import Store


def test_many_threads_saving_the_same_frames_store_each_once(tmp_path):
    with Store(tmp_path / "s") as store, ThreadPoolExecutor(8) as threads:
        saved = list(threads.map(lambda number: store.save(made(number % 10)), range(40)))
        assert sum(one.new for one in saved) == 10
        assert len({one.id for one in saved}) == 10
        assert store.totals()["molecules"] == 20


def test_many_threads_trying_one_frame_count_every_try(tmp_path):
    with Store(tmp_path / "s") as store, ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(lambda _: store.count_crash("aa", "a"), range(20)))
    assert sorted(counts) == list(range(1, 21))


def test_readers_see_whole_frames_only_while_others_write(tmp_path):
    done = threading.Event()
    seen = threading.Event()

    def read(store: Store) -> None:
        while not done.is_set():
            frame = store.latest()
            if frame is not None:
                assert len(frame["molecules"]) == frame["total"] == 5
                assert store.preview(frame["id"]) is not None
                seen.set()

    with Store(tmp_path / "s") as store, ThreadPoolExecutor(6) as threads:
        readers = [threads.submit(read, store) for _ in range(6)]
        for number in range(30):
            store.save(made(number, molecules=5))
        assert seen.wait(30)
        done.set()
        for reader in readers:
            reader.result()
        assert len(store._database._idle) <= 4


def test_closing_while_others_read_breaks_nothing(tmp_path):
    store = Store(tmp_path / "s")
    store.save(made("a"))
    started = threading.Barrier(5)

    def read() -> int:
        started.wait(30)
        count = 0
        try:
            while store.known(digest("a")) == 1:
                count += 1
        except RuntimeError:  # closed
            return count
        return -1

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(4)]
        started.wait(30)
        store.close()
        assert all(reader.result() >= 0 for reader in readers)
    assert store._database._idle == []
