from tuners.benchmarks.training.large_networks import cuts, unit_finding
from tuners.benchmarks.training.paired import WARM_UP, paired


def test_both_of_a_pair_are_run_as_often_and_take_turns() -> None:
    now, order = 0.0, []

    def run(name: str, seconds: float) -> None:
        nonlocal now
        order.append(name)
        now += seconds

    ratios = paired(lambda: run("a", 3.0), lambda: run("b", 2.0), 4, lambda: now)
    assert ratios == (1.5, 1.5, 1.5)
    assert order[:4] in (["a", "b", "b", "a"], ["b", "a", "a", "b"])
    assert order.count("a") == order.count("b") == 4 + WARM_UP


def test_small_ones_are_measured_alike() -> None:
    assert set(cuts(64, pairs=1)) == {"global", "erk", "lamp"}
    assert unit_finding(16, pairs=1).median > 0
