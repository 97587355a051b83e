"""The model of scripts/scaling: step times follow its formula, and a fit predicts the times of other steps."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from jobs import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "lib" / "scaling"))
from model import Model, Setting, compute_of, fit, steps_to_accuracy

MODEL = Model(hop=1e-4, efficiency=0.94, copy=1.5e-9, barrier=2e-5, local=3e-10, overlap=0.4, spread=0.03)
ONE = Setting(hosts=1, each=1, parameters=1_000_000, compute=0.01, bits_per_second=1e9)


def test_one_rank_takes_what_it_computes() -> None:
    assert MODEL.step(ONE) == 0.01


def test_a_step_is_work_and_wire_and_hops() -> None:
    plain = replace(MODEL, overlap=0.0, spread=0.0)
    four = replace(ONE, hosts=4, delay=2e-4)
    between = 2 * 3 / 4 * 4_000_000
    copying, wire, hops = 1.5e-9 * between, between * 8 / 0.94e9, 6 * 3e-4
    assert plain.step(four) == pytest.approx(0.01 + math.sqrt(copying**2 + wire**2) + hops)
    overlapped = 0.01 + math.sqrt(copying**2 + (wire - 0.4 * 0.01) ** 2) + hops
    assert replace(MODEL, spread=0.0).step(four) == pytest.approx(overlapped)
    assert MODEL.step(four) == pytest.approx(overlapped * (1 + 0.03 * math.sqrt(2 * math.log(4))))


def test_ranks_that_share_cores_take_turns() -> None:
    two = replace(ONE, each=2, cores=1)
    assert replace(MODEL, spread=0.0).step(two) == pytest.approx(2 * (0.01 + 2e-5 + 3e-10 * 4_000_000))


def test_a_fit_foretells_steps_that_it_was_not_fitted_to() -> None:
    generator = np.random.default_rng(0)

    def settings(shapes: list[tuple[int, int]], rates: list[float]) -> list[Setting]:
        return [
            Setting(h, r, p, c, g * 1e9, cores=2)
            for h, r in shapes
            for g in rates
            for p, c in ((700_000, 0.008), (1_900_000, 0.02))
        ]

    known = settings([(1, 2), (2, 1), (4, 1), (2, 2)], [1, 10])
    noisy = [MODEL.step(s) * math.exp(generator.normal(0, 0.01)) for s in known]
    fitted = fit(known, noisy)
    for setting in settings([(3, 1), (4, 2), (2, 3), (1, 4)], [0.5, 2.5, 5]):
        assert fitted.step(setting) == pytest.approx(MODEL.step(setting), rel=0.1)


def test_computing_and_steps_to_an_accuracy() -> None:
    samples, seconds = np.array([8.0, 32, 128]), np.array([1.08, 1.32, 2.28])
    assert compute_of(64, samples, seconds) == pytest.approx(1 + 0.64)
    assert compute_of(1, samples, np.array([0.8, 3.2, 12.8])) >= 0.3 * 0.8  # never 0
    assert steps_to_accuracy(100, 50, 300) == 200
