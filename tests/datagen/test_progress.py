"""The progress view counts, and says it in one line."""

import io

import pytest

from datagen.progress import ProgressView


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_plain_line_says_what_is_done_failed_how_fast_and_how_long():
    out = io.StringIO()
    with ProgressView("generate", total=40, unit="paths", already=10, failed=1, stream=out, interval=0.0) as view:
        view.advance(5, failed=2)
        view.advance(25)
    lines = out.getvalue().splitlines()
    assert lines[0] == "generate: 10/40 paths, 1 failed"
    assert lines[1].startswith("generate: 15/40 paths, 3 failed, ")
    assert "paths/s" in lines[1]
    assert lines[1].endswith(" left")
    assert lines[-1].startswith("generate: 40/40 paths, 3 failed, ")
    assert "took" in lines[-1]


def test_plain_lines_keep_their_distance():
    out = io.StringIO()
    with ProgressView("train", total=1000, stream=out, interval=3600.0) as view:
        for _ in range(1000):
            view.advance(1)
    assert len(out.getvalue().splitlines()) == 2


def test_silence_is_silent_and_counts_all_the_same():
    out = Terminal()
    with ProgressView("train", total=2, show=False, stream=out) as view:
        view.advance(2, failed=1)
    assert out.getvalue() == ""
    assert (view.done, view.failed) == (2, 1)


def test_a_terminal_gets_a_bar():
    out = Terminal()
    with ProgressView("generate", total=4, unit="paths", stream=out) as view:
        view.advance(4, failed=1)
    assert "4/4 paths, 1 failed" in out.getvalue()
    assert "generate" in out.getvalue()


def test_an_error_ends_the_view_and_goes_on():
    out = Terminal()

    def job():
        with ProgressView("generate", total=4, stream=out) as view:
            view.advance(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job()
    assert "1/4 steps" in out.getvalue()
