from __future__ import annotations

import pytest

from workbench import digits

NAN = float("nan")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.3636, 0.287, 0.436), "0.36 [0.29, 0.44]"),
        ((0.5278, 0.501, 0.562, 0.5), "0.528 [0.501, 0.562]"),  # the end that decides stays apart from the baseline
        ((0.5, 0.5, 0.56, 0.5), "0.50 [0.50, 0.56]"),
        ((0.00025, -0.0087, 0.0093), "0.000 [−0.009, 0.009]"),
        ((-18.3367, -20.0, -16.674), "−18.3 [−20.0, −16.7]"),
        ((12345.6, 12000.0, 12700.0), "12,346 [12,000, 12,700]"),
        ((2e-6, 1e-6, 3e-6), "2.0e−06 [1.0e−06, 3.0e−06]"),
        ((0.0, 0.0, 0.0), "0.00 [0.00, 0.00]"),
        ((-0.001, -0.2, 0.2), "0.00 [−0.20, 0.20]"),
        ((0.5, NAN, None), "0.50 no interval"),
        ((NAN, NAN, NAN), "undefined "),
        ((0.5, -3.0, float("inf")), "0.50 [−3.00, inf]"),
        ((4.5e-5, -0.009, 0.009), "0.000 [−0.009, 0.009]"),
        ((4.5e-6, 4e-6, 5e-6), "4.5e−06 [4.0e−06, 5.0e−06]"),
    ],
)
def test_an_interval_has_the_digits_it_supports(numbers: tuple[float, ...], text: str) -> None:
    assert " ".join(digits.interval(*numbers)) == text


def test_plain_numbers() -> None:
    assert [digits.plain(x) for x in (0.5, -0.0, -1 / 3, 2)] == ["0.5", "0", "−0.333", "2"]
    assert digits.number(None) == "–" == digits.number(NAN)
