"""Which files a batch finds, and that no two outputs meet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.batch.plan import MAX_NAME_BYTES, channel_labels, long_name, output_name, plan
from spm_live.errors import SetupError


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_folders_keep_their_structure_and_the_output_folder_is_left_out(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    _touch(raw / "b.sxm", raw / "may" / "a.sxm", raw / "may" / "a.png", raw / ".hidden", raw / ".git" / "x.sxm")
    _touch(raw / "out" / "b.sxm.tif")

    tasks = list(plan([raw], raw / "out").tasks())

    assert [(task.name, task.explicit) for task in tasks] == [
        ("b.sxm", False),
        ("may/a.png", False),
        ("may/a.sxm", False),
    ]
    assert [task.size for task in tasks] == [1, 1, 1]
    assert list(plan([raw], raw / "out").count())[-1] == 3


def test_several_inputs_are_named_from_the_folder_that_holds_them_all_and_each_file_comes_once(tmp_path: Path) -> None:
    _touch(tmp_path / "one" / "a.sxm", tmp_path / "two" / "deep" / "a.sxm", tmp_path / "a.sxm")

    inputs = [
        tmp_path / "one",
        tmp_path / "two",
        tmp_path / "two" / "deep",
        tmp_path / "one" / "a.sxm",
        tmp_path / "a.sxm",
    ]
    tasks = list(plan(inputs, tmp_path / "out").tasks())

    assert [(task.name, task.explicit) for task in tasks] == [
        ("a.sxm", True),
        ("one/a.sxm", False),
        ("two/deep/a.sxm", False),
    ]


def test_every_input_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as refused:
        plan([tmp_path / "no", tmp_path / "nowhere", tmp_path], tmp_path)
    assert len(refused.value.problems) == 3
    with pytest.raises(SetupError, match="no files given"):
        plan([], tmp_path / "out")


def test_a_broken_link_is_listed_for_the_reader_to_fail_on(tmp_path: Path) -> None:
    try:
        (tmp_path / "gone.sxm").symlink_to(tmp_path / "nothing")
    except OSError:
        pytest.skip("this account may not make links")

    (task,) = plan([tmp_path], tmp_path / "out").tasks()

    assert task.size == -1


@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=300),
        unique=True,
    )
)
def test_output_names_fit_and_differ(names: list[str]) -> None:
    outputs = [output_name(f"folder/{name}", label, ".tif") for name in names for label in ("", "Z")]

    assert all(len(os.fsencode(name.split("/", 1)[1])) <= MAX_NAME_BYTES for name in outputs)
    per_label = outputs[::2]
    assert len(set(per_label)) == len(per_label)


@given(st.lists(st.text(max_size=80), max_size=12))
def test_channel_labels_differ_where_case_is_ignored_and_are_plain(channels: list[str]) -> None:
    labels = channel_labels(channels)

    assert len({label.casefold() for label in labels}) == len(channels)
    assert not any(set(label) & set('/\\:*?"<>| ') for label in labels)


def test_long_windows_paths_get_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    deep = "C:\\" + "x" * 250

    assert long_name(deep) == "\\\\?\\" + deep
    assert long_name("\\\\server\\" + "x" * 250) == "\\\\?\\UNC\\server\\" + "x" * 250
    assert long_name(long_name(deep)) == long_name(deep)
    assert long_name("C:\\short") == "C:\\short"
