"""The learning rate of single updates, worked by hand."""

import pytest

from nnmpi.nn.schedules import SCHEDULES, Schedule


def schedule(name, updates_per_epoch=10, epochs=4, **options):
    return Schedule(name, 0.2, updates_per_epoch, epochs, **options)


@pytest.mark.parametrize("k", [0, 1, 39, 1000])
def test_constant(k):
    assert schedule("constant", decay=0.5)(k) == 0.2


@pytest.mark.parametrize(("k", "rate"), [(0, 0.2), (1, 0.16), (2, 0.4 / 3), (4, 0.1), (12, 0.05)])
def test_inverse_time_is_divided_by_one_plus_decay_times_updates(k, rate):
    assert schedule("inverse-time", decay=0.25)(k) == pytest.approx(rate, rel=1e-14)


def test_inverse_time_without_decay_is_constant():
    assert schedule("inverse-time")(1000) == 0.2


@pytest.mark.parametrize(
    ("k", "rate"), [(0, 0.2), (19, 0.2), (20, 0.1), (39, 0.1), (40, 0.05), (60, 0.025)]
)  # every 2 epochs of 10 updates
def test_step_drops_at_its_epochs(k, rate):
    assert schedule("step", step_epochs=2, step_factor=0.5)(k) == pytest.approx(rate, rel=1e-14)


@pytest.mark.parametrize(
    ("k", "rate"),
    [
        (0, 0.2),
        (10, 0.1 * (1 + 2**-0.5)),  # a quarter: cos 45°
        (20, 0.1),  # half: cos 90°
        (30, 0.1 * (1 - 2**-0.5)),  # three quarters: cos 135°
        (40, 0.0),
        (41, 0.0),
    ],
)
def test_cosine(k, rate):
    assert schedule("cosine")(k) == pytest.approx(rate, rel=1e-13, abs=1e-16)


def test_cosine_of_no_epochs_can_be_asked():
    assert schedule("cosine", epochs=0)(0) == 0.2


@pytest.mark.parametrize(
    ("epochs", "k", "rate"),
    [
        (0, 0, 0.2),
        (1, 0, 0.02),  # 1/10
        (1, 4, 0.1),
        (1, 8, 0.18),
        (1, 9, 0.2),
        (1, 10, 0.2),
        (0.5, 0, 0.04),  # 1/5
        (0.5, 4, 0.2),
        (0.25, 0, 0.08),  # 1/2.5
        (0.25, 1, 0.16),
        (0.25, 2, 0.2),
        (0.01, 0, 0.2),  # shorter than an update
    ],
)
def test_warm_up_rises_to_the_full_rate(epochs, k, rate):
    assert schedule("constant", warmup_epochs=epochs)(k) == pytest.approx(rate, rel=1e-14)


def test_warm_up_rises_to_what_the_schedule_says():
    # update 4 of 10: half of 0.2 / (1 + 0.25 · 4)
    assert schedule("inverse-time", decay=0.25, warmup_epochs=1)(4) == pytest.approx(0.05, rel=1e-14)


@pytest.mark.parametrize("name", SCHEDULES)
def test_update_zero_has_the_initial_rate(name):
    assert schedule(name, decay=0.5, step_factor=0.5)(0) == 0.2
