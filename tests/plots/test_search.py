"""Pictures of searches."""

from __future__ import annotations

from tuners.plots.search import benchmark_figure


def test_notes_stay_within_the_picture() -> None:
    curves = {"default": [[(10, 0.5), (90, 0.7)]], "expert": [[(20, 0.4)]]}
    figure = benchmark_figure(curves, 100, "title", ["a word after another " * 20, "short"])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts]
    assert boxes and all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
