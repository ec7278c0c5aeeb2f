from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from made_results import MODEL, NOON, made, made_fault
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from spm_live import __version__
from spm_live.domain import ClassCount, DaemonState, DaemonStatus, SourceStatus
from spm_live.publish.metrics import MAX_LABELS, Metrics

STATUS = DaemonStatus(
    state=DaemonState.WAITING,
    since=datetime(2026, 1, 1, tzinfo=UTC),
    model=MODEL,
    sources=(
        SourceStatus('folder "D:\\data"\n', True, "watching", {"arrived": 3}),
        SourceStatus("zeromq", False, "away", {"gaps": 1}),
    ),
    queued=5,
    queue_size=64,
    counters={"frames": 7, "worker_restarts": 1},
    lag_s=1.25,
)


@pytest.fixture
def metrics():
    return Metrics()


def samples(metrics: Metrics, status: DaemonStatus = STATUS) -> dict[tuple[str, tuple[str, ...]], float]:
    """Values by name and sorted label values."""
    text = metrics.text(status).decode("utf-8")
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a family told twice is refused by Prometheus"
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_status_is_told(metrics):
    told = samples(metrics)
    assert told["spm_live_state", ("waiting",)] == 1
    assert sum(value for (name, _), value in told.items() if name == "spm_live_state") == 1
    assert told["spm_live_queued", ()] == 5
    assert told["spm_live_queue_size", ()] == 64
    assert told["spm_live_lag_seconds", ()] == 1.25
    assert told["spm_live_frames_total", ()] == 7
    assert told["spm_live_worker_restarts_total", ()] == 1
    assert told["spm_live_source_ok", ('folder "D:\\data"\n',)] == 1
    assert told["spm_live_source_ok", ("zeromq",)] == 0
    assert told["spm_live_source_events_total", ("gaps", "zeromq")] == 1
    assert told["spm_live_model_info", ("1.0", MODEL.sha256, "synthetic-small")] == 1
    assert told["spm_live_start_time_seconds", ()] == STATUS.since.timestamp()


def test_a_daemon_that_just_started_has_no_lag_and_no_model(metrics):
    told = samples(metrics, DaemonStatus(DaemonState.STARTING, NOON))
    assert ("spm_live_lag_seconds", ()) not in told
    assert not any(name == "spm_live_model_info" for name, _ in told)


def test_molecules_are_counted_by_class_and_stages_timed(metrics):
    metrics.observe(made("a", molecules=3))
    metrics.observe(made("b", molecules=2, complete_rows=10))
    told = samples(metrics)
    assert told["spm_live_class_molecules_total", ("rod",)] == 5
    assert told["spm_live_class_molecules_total", ("lobe",)] == 0
    assert told["spm_live_partial_frames_total", ()] == 1
    assert told["spm_live_stage_seconds_count", ("detect",)] == 2
    assert told["spm_live_stage_seconds_sum", ("detect",)] == pytest.approx(0.24)
    assert told["spm_live_stage_seconds_bucket", ("0.001", "read")] == 0
    assert told["spm_live_stage_seconds_bucket", ("0.002", "read")] == 2


def test_faults_are_counted_by_stage(metrics):
    for stage in ("read", "read", "worker"):
        metrics.observe_fault(made_fault(stage=stage))
    told = samples(metrics)
    assert told["spm_live_stage_faults_total", ("read",)] == 2
    assert told["spm_live_stage_faults_total", ("worker",)] == 1


def test_the_program_names_itself(metrics):
    told = samples(metrics)
    assert any(name == "spm_live_build_info" and __version__ in labels for name, labels in told)


def test_endless_class_names_do_not_fill_the_memory(metrics):
    processed = made()
    counts = {f"class {number}": ClassCount(1, 0, 0.0, 0.0) for number in range(3 * MAX_LABELS)}
    metrics.observe(replace(processed, map=replace(processed.map, counts=counts)))
    told = samples(metrics)
    classes = {labels: value for (name, labels), value in told.items() if name == "spm_live_class_molecules_total"}
    assert len(classes) == MAX_LABELS + 1
    assert classes["other",] == 2 * MAX_LABELS


def test_two_daemons_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.observe(made())
    assert ("spm_live_class_molecules_total", ("rod",)) not in samples(other)
    assert not any("spm_live" in family.name for family in REGISTRY.collect())
