"""Step patterns: the steps they name, and what is refused."""

from __future__ import annotations

import pytest

from opml_dispute.cannon.pattern import BadPattern, StepPattern


@pytest.mark.parametrize("text", ["", "never", "always", "=0", "=7", "=0x1f", "%1", "%3", "%1000"])
def test_next_step_is_the_first_that_the_pattern_names(text: str) -> None:
    def named(step: int) -> bool:
        number = int(text[1:], 0) if text[:1] in {"=", "%"} else 0
        if text[:1] == "=":
            return step == number
        return text == "always" or (text[:1] == "%" and step % number == 0)

    pattern = StepPattern.parse(text)
    for start in range(50):
        expected = next((step for step in range(start, start + 2000) if named(step)), None)
        assert pattern.next_at(start) == expected
        assert pattern.wants(start) == named(start)


@pytest.mark.parametrize("text", ["sometimes", "=", "%", "%0", "=-1", "= 1", "=1 ", "1", "=1.5", "%0x", f"={1 << 64}"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(BadPattern):
        StepPattern.parse(text)
