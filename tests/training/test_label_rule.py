"""Serial numbers in labels: what goes, and what is part of a name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from spm_live.training.data.label_rule import LabelRule


def classes(labels: list[tuple[str, str]], named: tuple[str, ...] = (), **rule: object) -> dict[str, str]:
    return dict(LabelRule.model_validate(rule).classes_of(labels, named).classes)


def test_serial_numbers_of_the_papers_labels_go() -> None:
    drawn = [("1", f"003a{n}") for n in range(1, 25)] + [("1", f"020a{n}") for n in range(1, 53)]
    assert set(classes(drawn).values()) == {"003a", "020a"}


def test_a_label_without_serial_is_never_touched() -> None:
    assert classes([("1", "020a"), ("1", "C60"), ("1", "003a")]) == {"020a": "020a", "C60": "C60", "003a": "003a"}


def test_names_that_occur_often_in_a_picture_are_no_serials() -> None:
    drawn = [("1", "C60")] * 20 + [("1", "C70")] * 12
    result = LabelRule().classes_of(drawn)
    assert dict(result.classes) == {"C60": "C60", "C70": "C70"}
    assert set(result.doubtful) == {"C60", "C70"}


def test_numbers_that_leave_large_gaps_are_no_serials() -> None:
    drawn = [(str(n), name) for n in range(30) for name in ("C60", "C70")]
    assert classes(drawn) == {"C60": "C60", "C70": "C70"}


def test_phases_that_are_numbered_and_repeat_stay() -> None:
    drawn = [("1", "T1")] * 4 + [("1", "T2")] * 5
    assert classes(drawn) == {"T1": "T1", "T2": "T2"}


def test_serials_of_a_crop_do_not_begin_with_one() -> None:
    drawn = [("1", f"020a{n}") for n in (14, 15, 17, 20, 21, 22, 30, 31, 32)]
    assert set(classes(drawn).values()) == {"020a"}


def test_a_single_numbered_label_beside_its_bare_class_joins_it() -> None:
    assert classes([("1", "003a"), ("1", "003a"), ("2", "003a7")])["003a7"] == "003a"


def test_a_slip_of_the_keyboard_does_not_stop_the_rule() -> None:
    drawn = [("1", f"a{n}") for n in range(1, 11)] + [("1", "a3")]
    assert set(classes(drawn).values()) == {"a"}


@pytest.mark.parametrize("label", ["mol 3", "mol_3", "mol-3", "mol#3", "mol(3)", "mol.3", " mol3 "])
def test_separators_go_with_the_serial(label: str) -> None:
    assert classes([("1", label)], serial="always") == {label: "mol"}


def test_names_of_categories_are_left_alone_unless_told() -> None:
    assert classes([], ("mol1", "mol2")) == {"mol1": "mol1", "mol2": "mol2"}
    assert classes([], ("mol1", "mol2"), serial="always") == {"mol1": "mol", "mol2": "mol"}


def test_never_means_never() -> None:
    assert classes([("1", "a1"), ("1", "a2")], serial="never") == {"a1": "a1", "a2": "a2"}


def test_a_pattern_rules_and_tells_what_it_does_not_match() -> None:
    result = LabelRule(pattern=r"(?P<class>C\d\d)-\d+").classes_of([("1", "C60-1"), ("1", "C70-2"), ("1", "H2O")])
    assert dict(result.classes) == {"C60-1": "C60", "C70-2": "C70", "H2O": "H2O"}
    assert result.unmatched == ("H2O",)


def test_classes_are_renamed_ignored_and_left_out() -> None:
    rule = LabelRule(rename={"003a": "molecule", "020a": "molecule"}, leave_out=("dirt",))
    result = rule.classes_of([("1", "003a1"), ("1", "003a2"), ("1", "020a"), ("1", "dirt"), ("1", "ignore")])
    assert result.classes["003a2"] == result.classes["020a"] == "molecule"
    assert result.left_out == {"dirt"}
    assert result.ignored == {"ignore"}


@pytest.mark.parametrize("rule", [{"pattern": "("}, {"pattern": "abc"}, {"rename": {"a": " "}}, {"serials": "auto"}])
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LabelRule.model_validate(rule)
