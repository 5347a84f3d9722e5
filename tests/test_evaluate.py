"""Metrics by hand, and `unflux eval` as a user runs it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from conftest import Cli
from unflux import detect
from unflux.errors import UnfluxError
from unflux.evaluate import evaluate, load_labels, metrics, report
from unflux.lab import scenarios
from unflux.lab.synth.run import synth
from unflux.pipeline import ScanOptions

FLUX = np.array([True, False, True, False])
SCORE = np.array([0.9, 0.8, 0.7, 0.1])


def test_average_precision_by_hand() -> None:
    # Found at rank 1 (precision 1/1) and rank 3 (precision 2/3), half of the flux each.
    assert metrics.pr_auc(FLUX, SCORE) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert metrics.pr_auc(FLUX, np.array([4, 1, 3, 2.0])) == 1
    assert math.isnan(metrics.pr_auc(np.array([False]), np.array([1.0])))


def test_equal_scores_stand_or_fall_together() -> None:
    # All four share one score: one point, precision 2/4.
    assert metrics.pr_auc(FLUX, np.ones(4)) == pytest.approx(0.5)


def test_recall_at_a_rate_of_false_alarms_by_hand() -> None:
    flux = np.r_[np.ones(2, bool), np.zeros(100, bool)]
    score = np.r_[0.9, 0.5, [0.7], np.zeros(99)]
    assert metrics.tpr_at_fpr(flux, score, 0.01) == 1  # one of 100 is allowed
    flux = np.r_[flux, np.zeros(900, bool)]
    score = np.r_[score, 0.6, np.zeros(899)]
    assert metrics.tpr_at_fpr(flux, score, 0.001) == 0.5  # one of 1,000, and there are two
    assert math.isnan(metrics.tpr_at_fpr(flux, score, 0.0001))  # 1,000 others cannot show 1e-4


def test_f1_brier_and_calibration_by_hand() -> None:
    assert metrics.f1(FLUX, np.array([True, True, False, False])) == 0.5  # P = R = 1/2
    assert math.isnan(metrics.f1(np.zeros(2, bool), np.zeros(2, bool)))
    # (0.1² + 0.8² + 0.3² + 0.1²) / 4
    assert metrics.brier(FLUX, SCORE) == pytest.approx((0.01 + 0.64 + 0.09 + 0.01) / 4)
    # Bins 9, 8, 7, 1 hold one name each: |0.9-1| + |0.8-0| + |0.7-1| + |0.1-0|, over 4.
    assert metrics.calibration_error(FLUX, SCORE) == pytest.approx((0.1 + 0.8 + 0.3 + 0.1) / 4)


def test_names_of_one_network_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    values = np.repeat(rng.random(10), 50)
    alone, together = np.arange(500), np.repeat(np.arange(10), 50)

    def mean(drawn: np.ndarray) -> float:
        return float(values[drawn].mean())

    one, other = metrics.interval(alone, mean), metrics.interval(together, mean)
    assert other[1] - other[0] > 3 * (one[1] - one[0])


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("suite") / "small"
    synth(scenarios.load("walk", hours=3, split="test"), directory, ("parquet",))
    return directory


def options(suite: Path) -> list[str | Path]:
    return [
        suite / "answers.parquet", "--labels", suite / "labels.json",
        "--asn-db", suite / "asn.mmdb", "--country-db", suite / "country.mmdb",
    ]  # fmt: skip


def test_json_has_the_shape_of_the_design(cli: Cli, suite: Path) -> None:
    done = cli("eval", *options(suite), "--json")
    assert done.returncode == 0
    result = json.loads(done.stdout)
    ours = next(one for one in result["detectors"] if one["id"] == "unflux")
    assert {"id", "version", "pr_auc", "tpr_at_fpr", "by_kind"} <= set(ours)
    assert 0.5 < ours["pr_auc"] <= 1
    assert ours["false_positives"] == 0
    assert ours["by_kind"]["double"]["called_flux"] == 1
    names = result["names"]
    assert names["labelled"] == names["seen"] + names["not_seen"]
    assert names["measured"] == sum(result["kinds"].values())


def test_few_fresh_answers_and_other_splits_are_counted(cli: Cli, suite: Path) -> None:
    done = cli("eval", *options(suite), "--json", "--min-fresh", "5", "--detector", "unflux")
    names = json.loads(done.stdout)["names"]
    assert names["too_few_fresh_answers"] > 0
    assert names["measured"] == names["seen"] - names["too_few_fresh_answers"]
    none = cli("eval", *options(suite), "--split", "train")
    assert none.returncode == 1
    assert "no labelled name is left" in none.stderr
    assert "of another split" in none.stderr
    assert cli("eval", *options(suite), "--min-fresh", "-1").returncode == 2


def test_reports_are_written_whole_and_escaped(cli: Cli, suite: Path, tmp_path: Path) -> None:
    labels = json.loads((suite / "labels.json").read_text())
    for label in labels["names"].values():
        label["kind"] = label["kind"].replace("static", "<script>")
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    changed = [suite / "answers.parquet", "--labels", tmp_path / "labels.json"]
    for name in ("report.md", "report.html"):
        done = cli("eval", *changed, "--report", tmp_path / name)
        assert done.returncode == 0
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "| unflux v" in (tmp_path / "report.md").read_text()


def test_a_report_says_which_table_was_missing(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unflux.enrich.tables.OWN_TABLES", tmp_path)
    monkeypatch.setattr("unflux.enrich.tables.DIRECTORIES", ())
    known, ours = load_labels(suite / "labels.json"), [detect.by_id("unflux")]
    for tables, is_told in ((None, True), (suite / "asn.mmdb", False)):
        read = ScanOptions(asn_db=tables, country_db=suite / "country.mmdb")
        result = evaluate([suite / "answers.parquet"], known, ours, read)
        told = report.markdown(result, "title")
        assert ("so no name is called flux without one (--asn-db)" in told) == is_told
        assert (result.detectors[0].recall == 0) == is_told


def test_thresholds_are_refitted_on_training_data() -> None:
    from unflux.evaluate import fit

    # Flux scores 0.8 and 0.6; the pool's 0.7 is the highest of the others, 0.3 without it.
    flux = np.array([True, True, False, False])
    score, kinds = np.array([0.8, 0.6, 0.7, 0.3]), ["rock", "rock", "pool", "plain"]
    fitted = fit.fit(score, flux, kinds)
    assert 0.7 < fitted.threshold < 0.7001
    assert 0.3 < fitted.without["pool"] < 0.3001
    done = fit.apply(fitted, score, flux, kinds, np.arange(4))
    assert (done.recall, done.false_positives) == (0.5, 0)
    assert done.unmet == {"plain": 0.0, "pool": 1.0, "rock": 0.5}


def test_delays_are_those_of_growing_prefixes(cli: Cli, suite: Path) -> None:
    chosen = ["--detector", "unflux", "--delays", "--json"]
    training = ["--fit", suite / "answers.parquet", "--fit-labels", suite / "labels.json"]
    done = cli("eval", *options(suite), *chosen, *training)
    ours = json.loads(done.stdout)["detectors"][0]
    assert ours["delay"]["double"]["called"] == 1
    assert 0 < ours["delay"]["double"]["fresh_answers"] <= 10
    assert ours["delay"]["double"]["seconds"] > 0
    assert ours["refitted"]["recall"] > 0.5
    low, high = ours["delay"]["double"]["fresh_answers_interval"]
    assert low <= ours["delay"]["double"]["fresh_answers"] <= high
    networks = [one for one in ours["by_network"].values() if one["kind"] == "double"]
    assert networks
    assert all(one["called_flux"] == 1 for one in networks)
    assert ours["f1_interval"]["double_flux"][1] == 1


def test_training_data_needs_its_labels(cli: Cli, suite: Path) -> None:
    done = cli("eval", *options(suite), "--fit", suite / "answers.parquet")
    assert done.returncode == 2
    assert "go together" in done.stderr


def test_labels_that_are_none_are_refused(tmp_path: Path) -> None:
    for content in (
        "{}", '{"names": {}}', '{"names": {"a": {"flux": "yes"}}}', "no json",
        '{"names": {"a": {"flux": true, "verdict": "fast_flux"}}}',
        '{"names": {"a": {"flux": true, "changes": "2026-01-05T06:00:00"}}}',  # of which zone?
    ):  # fmt: skip
        path = tmp_path / "labels.json"
        path.write_text(content)
        with pytest.raises(UnfluxError, match="no labels"):
            load_labels(path)
