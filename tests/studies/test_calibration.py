"""Logistic calibration against planted probabilities, and its scores by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from locheads.studies import calibration


def drawn(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(2, 3, n), rng.normal(size=n)
    return pd.DataFrame(
        {"x": x, "noise": noise, "hit": rng.random(n) < expit(0.8 * x - 1), "image_id": range(n)}
    )


def test_planted_weights_come_back() -> None:
    fitted = calibration.fit(drawn(20_000), ["x", "noise"])
    slopes = fitted.weights[1:] / fitted.scale
    assert slopes == pytest.approx([0.8, 0], abs=0.05)
    assert fitted.weights[0] - (slopes * fitted.centre).sum() == pytest.approx(-1, abs=0.1)
    some = drawn(2000, seed=1)
    np.testing.assert_allclose(fitted.probability(some), expit(0.8 * some.x - 1), atol=0.03)


def test_true_probabilities_are_reliable_and_beat_a_constant() -> None:
    some = drawn(2000)
    true = expit(0.8 * some.x - 1).to_numpy()
    bins = calibration.reliability(true, some)
    assert bins.samples.sum() == 2000 and (bins.predicted.diff()[1:] > 0).all()
    assert calibration.calibration_error(bins) < 0.03
    assert calibration.calibration_error(calibration.reliability(true**4, some)) > 0.1
    gained = calibration.brier_gain(true, float(some.hit.mean()), some)
    assert gained["low"] > 0.05


def test_brier_and_calibration_error_by_hand() -> None:
    some = pd.DataFrame({"hit": [True, False, True, True], "image_id": list("abcd")})
    probabilities = np.array([0.9, 0.2, 0.4, 0.7])
    gained = calibration.brier_gain(probabilities, 0.5, some)
    assert gained["brier"] == pytest.approx((0.01 + 0.04 + 0.36 + 0.09) / 4)
    assert gained["constant"] == 0.25 and gained["value"] == pytest.approx(0.125)
    bins = calibration.reliability(probabilities, some, bins=2)
    assert bins.predicted.tolist() == pytest.approx([0.3, 0.8]) and bins.value.tolist() == [0.5, 1]
    assert calibration.calibration_error(bins) == pytest.approx(0.2)


def test_a_separating_signal_has_finite_weights() -> None:
    some = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "hit": [False, False, True, True]})
    assert np.isfinite(calibration.fit(some, ["x"]).weights).all()


def test_a_threshold_keeps_at_least_its_share_of_hits() -> None:
    scores, hit = np.array([0.1, 0.2, 0.3, 0.4, 0.9]), np.array([True, True, True, True, False])
    assert [calibration.threshold_keeping(scores, hit, share) for share in (1.0, 0.75, 0.7, 0.01)] == [
        0.1, 0.2, 0.2, 0.4
    ]  # fmt: skip
