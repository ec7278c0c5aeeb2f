"""The writer of MATRIX scans, read by access2thematrix and by our own reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from access2thematrix import MtrxData
from hypothesis import given
from hypothesis import strategies as st

from spm_live_drivers.contract import FileStatus, ReadOptions, ScanDirection, ScanGeometry, Trace
from spm_live_drivers.formats.matrix_blocks import Block, block_at
from spm_live_drivers.formats.matrix_chain import Transfer
from spm_live_drivers.formats.matrix_values import CURRENT, HEIGHT, MatrixChannel, linear, raw_values
from spm_live_drivers.formats.matrix_writer import MatrixExperiment, MatrixSettings
from spm_live_drivers.formats.omicron_matrix import OmicronMatrixReader
from spm_live_drivers.testing import check_reader

READER = OmicronMatrixReader()
GEOMETRY = ScanGeometry(5, 4, (8.0, 20.0), (-346.5282, 152.0117), 12.5)
ENDED = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SETTINGS = MatrixSettings(ENDED, raster_time_s=0.5, bias_v=-1.25, setpoint=20e-12, sample="Au(111)", comment="a night")


def integers(seed: int, shape: tuple[int, int] = (5, 4)) -> np.ndarray:
    return np.random.default_rng(seed).integers(-(2**31), 2**31, shape)


def meaning(raw: np.ndarray, transfer: Transfer) -> np.ndarray:
    """What the integers stand for, written out once more and apart from the writer and the library."""
    factors = transfer.factors
    if transfer.kind == "TFF_Identity":
        return raw.astype(float)
    if transfer.kind == "TFF_Linear1D":
        return (raw - factors["Offset"]) / factors["Factor"]
    scale = factors["NeutralFactor"] * factors["PreFactor"]
    return (factors["Raw_1"] - factors["PreOffset"]) * (raw - factors["Offset"]) / scale


def channel(
    name: str = "Z", transfer: Transfer = HEIGHT, *, seed: int = 0, planes: int = 2, geometry: ScanGeometry = GEOMETRY
) -> MatrixChannel:
    """A channel whose values are those of whole integers; 1, 2 or 4 planes."""
    shape = (geometry.rows, geometry.columns)
    pictures = [meaning(integers(10 * seed + number, shape), transfer) for number in range(planes)]
    return MatrixChannel(name, transfer, pictures[0], pictures[1] if planes > 1 else None, tuple(pictures[2:]))


def only(first: MatrixChannel, lines: int) -> MatrixChannel:
    """A channel of which only the lowest lines were scanned."""
    up = [np.array(plane) for plane in first.up]
    for plane in up:
        plane[: len(plane) - lines] = np.nan
    return replace(first, forward=up[0], backward=up[1] if len(up) > 1 else None)


def by_library(path: Path) -> tuple[MtrxData, dict[str, np.ndarray]]:
    """All traces of a file, row 0 at the top."""
    library = MtrxData()
    traces, message = library.open(str(path))
    assert message.startswith("Successfully"), message
    return library, {trace: library.select_image(trace)[0].data[::-1] for trace in traces.values()}


def chain_of(experiment: MatrixExperiment) -> list[Block]:
    """The blocks of a chain."""
    size, blocks, offset = experiment.chain_path.stat().st_size, [], 12
    with experiment.chain_path.open("rb") as file:
        while offset < size:
            blocks.append(block_at(file, offset, size))
            offset = blocks[-1].end
    return blocks


TRANSFERS = [
    HEIGHT,
    CURRENT,
    linear("Hz", 40.0),
    Transfer("V", "TFF_Identity", {}),
    Transfer("m", "TFF_Linear1D", {"Offset": 7.0, "Factor": 2.4e15}),
]


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("planes", [1, 2, 4])
def test_the_library_reads_every_trace_to_the_last_bit(tmp_path: Path, transfer: Transfer, planes: int) -> None:
    one = channel(transfer=transfer, planes=planes)
    (path,) = MatrixExperiment(tmp_path, "night").save(4, 1, [one], GEOMETRY, SETTINGS)
    _, traces = by_library(path)
    names = ["forward/up", "backward/up", "forward/down", "backward/down"][:planes]
    assert list(traces) == names
    for name, plane in zip(names, (*one.up, *one.down), strict=True):
        np.testing.assert_array_equal(traces[name], plane, strict=True)


def test_a_down_scan_of_a_forward_only_scan_is_read_too(tmp_path: Path) -> None:
    both = channel(planes=2)
    assert both.backward is not None
    one = MatrixChannel("Z", HEIGHT, both.forward, None, (both.backward,))
    (path,) = MatrixExperiment(tmp_path, "night").save(4, 1, [one], GEOMETRY, SETTINGS)
    _, traces = by_library(path)
    np.testing.assert_array_equal(traces["forward/up"], one.forward)
    np.testing.assert_array_equal(traces["forward/down"], one.down[0])


@pytest.mark.parametrize("trace", Trace)
@pytest.mark.parametrize("lines", [5, 3, 1, 0])
def test_our_reader_gets_the_values_back_also_of_a_stopped_scan(tmp_path: Path, trace: Trace, lines: int) -> None:
    whole = channel()
    one = only(whole, lines)
    (path,) = MatrixExperiment(tmp_path, "night").save(4, 1, [one], GEOMETRY, SETTINGS)
    assert READER.state(path).status is FileStatus.COMPLETE
    frame = READER.read(path, ReadOptions(trace=trace))
    plane = one.forward if trace is Trace.FORWARD else one.backward
    assert plane is not None
    np.testing.assert_array_equal(frame.data, plane.astype(np.float32))
    assert (frame.info.complete_rows, frame.info.partial) == (lines, lines < 5)
    assert frame.info.direction is ScanDirection.UP
    assert frame.info.warnings == ()


def test_the_library_agrees_where_a_stopped_scan_lies(tmp_path: Path) -> None:
    (path,) = MatrixExperiment(tmp_path, "night").save(4, 1, [only(channel(), 2)], GEOMETRY, SETTINGS)
    library = MtrxData()
    library.open(str(path))
    image, _ = library.select_image("forward/up")
    middle = READER.read(path).geometry.to_nm(np.array([[1.5, 3.5]]))[0]
    assert middle == pytest.approx((image.x_offset * 1e9, image.y_offset * 1e9))


def test_of_up_and_down_our_reader_reads_the_up_scan_and_a_down_scan_may_be_stopped(tmp_path: Path) -> None:
    one = channel(planes=4)
    down = tuple(np.array(plane) for plane in one.down)
    for plane in down:
        plane[2:] = np.nan
    experiment = MatrixExperiment(tmp_path, "night")
    for cycle, what in ((1, one), (2, replace(one, down=down))):
        (path,) = experiment.save(4, cycle, [what], GEOMETRY, SETTINGS)
        frame = READER.read(path)
        np.testing.assert_array_equal(frame.data, one.forward.astype(np.float32))
        assert any("down scan" in warning for warning in frame.info.warnings)
    library = MtrxData()
    library.open(str(path))
    image, _ = library.select_image("forward/down")
    np.testing.assert_array_equal(image.data[::-1][:2], down[0][:2])


def test_the_header_says_what_was_set(tmp_path: Path) -> None:
    channels = [channel("I", CURRENT, seed=1), channel()]
    paths = MatrixExperiment(tmp_path, "night").save(4, 2, channels, GEOMETRY, SETTINGS)
    assert [path.name for path in paths] == ["night--4_2.I_mtrx", "night--4_2.Z_mtrx"]
    info = READER.read(paths[1]).info
    assert info.geometry.size_nm == pytest.approx(GEOMETRY.size_nm)
    assert info.geometry.center_nm == pytest.approx(GEOMETRY.center_nm)
    assert info.geometry.angle_deg == 12.5
    assert (info.bias_v, info.setpoint, info.setpoint_unit, info.unit) == (-1.25, 20e-12, "A", "m")
    assert info.ended == ENDED
    assert info.started == ENDED - timedelta(seconds=40 * 0.5)
    assert info.comment == "Au(111); a night"
    assert READER.read(paths[0]).info.unit == "A"
    library, _ = by_library(paths[0])
    assert (library.sample_name, library.creation_comment) == ("Au(111)", "a night")
    assert library.channel_name_and_unit == ["I", "A"]
    assert [READER.wanted(path, ReadOptions()) for path in paths] == [False, True]


def test_a_loop_that_is_open_and_a_set_point_in_hertz_are_told(tmp_path: Path) -> None:
    settings = replace(SETTINGS, feedback=False, setpoint=-3.5, setpoint_unit="Hz")
    channels = [channel("Df", linear("Hz", 9e9), seed=1), channel()]
    paths = MatrixExperiment(tmp_path, "night").save(4, 2, channels, GEOMETRY, settings)
    info = READER.read(paths[0]).info
    assert (info.setpoint, info.setpoint_unit, info.unit) == (-3.5, "Hz", "Hz")
    assert [READER.wanted(path, ReadOptions()) for path in paths] == [True, False]


def test_the_reader_keeps_the_contract_on_what_was_written(tmp_path: Path) -> None:
    experiment = MatrixExperiment(tmp_path, "night")
    (path,) = experiment.save(4, 1, [channel()], GEOMETRY, SETTINGS)
    check_reader(READER, path, options=ReadOptions(channel="Z"), companions=[experiment.chain_path], cuts=20, flips=20)


def test_a_chain_grows_by_what_has_changed_and_every_file_keeps_its_own_meaning(tmp_path: Path) -> None:
    experiment = MatrixExperiment(tmp_path, "night")
    small = replace(GEOMETRY, rows=3, columns=7, size_nm=(3.0, 2.0), angle_deg=-30.0)
    coarse = Transfer("m", "TFF_Linear1D", {"Offset": 0.0, "Factor": 1.2e15})
    scans: list[tuple[MatrixChannel, ScanGeometry, MatrixSettings]] = [
        (channel(seed=1), GEOMETRY, SETTINGS),
        (channel(seed=2), GEOMETRY, replace(SETTINGS, ended=ENDED + timedelta(seconds=30))),
        (channel(seed=3, geometry=small), small, replace(SETTINGS, ended=ENDED + timedelta(60), bias_v=2.0)),
        (channel(seed=4, transfer=coarse, planes=1), GEOMETRY, replace(SETTINGS, ended=ENDED + timedelta(90))),
    ]
    paths, lengths, names = [], [0], []
    for cycle, (one, geometry, settings) in enumerate(scans, 1):
        before = experiment.chain_path.read_bytes() if cycle > 1 else b""
        paths += experiment.save(4, cycle, [one], geometry, settings)
        assert experiment.chain_path.read_bytes().startswith(before), "it only grows"
        lengths.append(len(chain_of(experiment)))
        names.append([block.name for block in chain_of(experiment)[lengths[-2] :]])
    assert names[0] == ["META", "EEPA", "MARK", "MARK", "MARK", "MARK", "CCSY", "BREF"]
    assert names[1] == ["BREF"], "nothing has changed"
    changed = {"Points", "Lines", "Width", "Height", "Angle", "Voltage"}
    assert names[2] == ["PMOD"] * len(changed) + ["BREF"]
    # Back to the old frame, but in one direction only, and with another transfer function.
    assert names[3] == ["PMOD"] * (len(changed) + 1) + ["CCSY", "BREF"]
    for path, (one, geometry, settings) in zip(paths, scans, strict=True):
        _, traces = by_library(path)
        np.testing.assert_array_equal(traces["forward/up"], one.forward)
        frame = READER.read(path)
        np.testing.assert_array_equal(frame.data, one.forward.astype(np.float32))
        assert frame.info.bias_v == settings.bias_v
        assert frame.geometry.size_nm == pytest.approx(geometry.size_nm)
        assert frame.geometry.angle_deg == geometry.angle_deg
        assert frame.info.warnings == ()


def test_a_chain_is_continued_after_a_restart_and_begun_anew_where_it_was_cleared_away(tmp_path: Path) -> None:
    MatrixExperiment(tmp_path, "night").save(1, 1, [channel(), channel("I", CURRENT, seed=5)], GEOMETRY, SETTINGS)
    experiment = MatrixExperiment(tmp_path, "night")
    other = Transfer("m", "TFF_Linear1D", {"Offset": 3.0, "Factor": 1.2e15})
    one = channel(transfer=other)
    (path,) = experiment.save(1, 2, [one], GEOMETRY, SETTINGS)
    np.testing.assert_array_equal(by_library(path)[1]["forward/up"], one.forward)
    experiment.chain_path.unlink()
    (path,) = experiment.save(1, 3, [one], GEOMETRY, SETTINGS)
    np.testing.assert_array_equal(by_library(path)[1]["forward/up"], one.forward)
    np.testing.assert_array_equal(READER.read(path).data, one.forward.astype(np.float32))


@pytest.mark.parametrize("restart", [False, True])
def test_a_channel_that_changes_its_place_keeps_its_newest_scale(tmp_path: Path, restart: bool) -> None:
    """Of several entries for one channel the library takes the one of the highest number."""
    experiment = MatrixExperiment(tmp_path, "night")
    experiment.save(1, 1, [channel(), channel("I", CURRENT, seed=5)], GEOMETRY, SETTINGS)
    one = channel("I", replace(CURRENT, factors={**CURRENT.factors, "PreFactor": 2.0}))
    experiment = MatrixExperiment(tmp_path, "night") if restart else experiment
    (path,) = experiment.save(1, 2, [one], GEOMETRY, SETTINGS)
    np.testing.assert_array_equal(by_library(path)[1]["forward/up"], one.forward)
    np.testing.assert_array_equal(READER.read(path).data, one.forward.astype(np.float32))


def test_what_is_no_chain_is_left_alone(tmp_path: Path) -> None:
    experiment = MatrixExperiment(tmp_path, "night")
    experiment.chain_path.write_bytes(b"somebody's notes")
    with pytest.raises(FileExistsError, match=r"night_0001\.mtrx is there and is no parameter chain"):
        experiment.save(1, 1, [channel()], GEOMETRY, SETTINGS)
    assert experiment.chain_path.read_bytes() == b"somebody's notes"


def test_channels_that_are_no_longer_recorded_are_told(tmp_path: Path) -> None:
    experiment = MatrixExperiment(tmp_path, "night")
    experiment.save(1, 1, [channel(), channel("I", CURRENT)], GEOMETRY, SETTINGS)
    (path,) = experiment.save(1, 2, [channel("I", CURRENT)], GEOMETRY, SETTINGS)
    assert READER.wanted(path, ReadOptions()), "the height is not going to come"


def test_a_chain_that_comes_later_is_the_same_chain(tmp_path: Path) -> None:
    owed: list[Callable[[], object]] = []
    at_once, later = (MatrixExperiment(tmp_path / name, "night") for name in ("at_once", "later"))
    for experiment, given_to in ((at_once, None), (later, owed.append)):
        experiment.chain_path.parent.mkdir()
        for cycle in (1, 2):
            paths = experiment.save(
                1, cycle, [channel(seed=cycle)], GEOMETRY, replace(SETTINGS, bias_v=float(cycle)), later=given_to
            )
    assert paths[0].exists()
    assert not later.chain_path.exists()
    assert READER.state(paths[0]).status is FileStatus.WAITING
    owed[0]()
    assert READER.state(paths[0]).status is FileStatus.WAITING, "only the first one is listed"
    owed[1]()
    assert later.chain_path.read_bytes() == at_once.chain_path.read_bytes()
    assert READER.state(paths[0]).status is FileStatus.COMPLETE


def test_a_result_file_written_in_pieces_is_the_same_file_and_says_that_it_grows(tmp_path: Path) -> None:
    (tmp_path / "slow").mkdir()
    whole = MatrixExperiment(tmp_path, "night")
    (path,) = whole.save(1, 1, [channel()], GEOMETRY, SETTINGS)
    slow = MatrixExperiment(tmp_path / "slow", "night")
    growing = slow.path_of(1, 1, "Z")
    slow.chain_path.write_bytes(whole.chain_path.read_bytes())
    seen: list[FileStatus] = []
    slow.save(1, 1, [channel()], GEOMETRY, SETTINGS, pieces=9, pause=lambda: seen.append(READER.state(growing).status))
    assert set(seen) == {FileStatus.INCOMPLETE}
    assert growing.read_bytes() == path.read_bytes()


def refused(*channels: MatrixChannel, geometry: ScanGeometry = GEOMETRY) -> pytest.ExceptionInfo[ValueError]:
    with pytest.raises(ValueError) as told:
        MatrixExperiment(Path("nowhere"), "night").save(1, 1, channels, geometry, SETTINGS)
    return told


def test_what_the_format_cannot_express_is_refused_before_anything_is_written() -> None:
    whole = channel()
    gap = np.array(whole.forward)
    gap[2, 1] = np.nan
    upside_down = np.array(whole.forward)
    upside_down[3:] = np.nan
    for forward in (gap, upside_down):
        assert refused(replace(whole, forward=forward)).match("cannot be missing within it")
    assert refused(replace(whole, forward=whole.forward + 1e-6)).match("more than its transfer function")
    assert refused(replace(whole, transfer=Transfer("m", "TFF_Cubic", {}))).match("not known")
    assert refused(replace(whole, down=(whole.forward,))).match("other directions")
    assert refused(whole, only(channel("I", CURRENT), 3)).match("equally far")
    assert refused(whole, geometry=replace(GEOMETRY, rows=6)).match("has the shape")
    assert refused().match("at least one channel")
    with pytest.raises(ValueError, match="no time zone"):
        MatrixSettings(datetime(2026, 5, 4))


@given(st.floats(-1e6, 1e6), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.booleans())
def test_any_value_comes_back_within_half_a_step_and_any_scan_is_as_long_as_its_lines(
    largest: float, rows: int, columns: int, lines: int, both: bool
) -> None:
    transfer = linear("Hz", abs(largest))
    step = 1 / transfer.factors["Factor"]
    values = np.random.default_rng(rows * columns).uniform(-abs(largest), abs(largest), (2, rows, columns))
    one = only(MatrixChannel("Df", transfer, values[0], values[1] if both else None), min(lines, rows))
    raw = raw_values(one, ScanGeometry(rows, columns, (1.0, 1.0)))
    assert raw.size == min(lines, rows) * columns * (1 + both)
    first = raw.reshape(-1, 1 + both, columns)[:, 0][::-1]
    kept = one.forward[rows - len(first) :]
    assert np.abs(meaning(first, transfer) - kept).max(initial=0.0) <= 0.5 * step * (1 + 1e-9)
    assert step <= max(abs(largest), 1e-100) * 2.0**-29
