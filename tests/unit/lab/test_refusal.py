import errno

import pytest

from calico.lab.refusal import explain_refusal


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("user namespace", "the kernel refused its user namespace"),
        ("proc", "the kernel refused to mount /proc in it"),
    ],
)
def test_refused_step_is_named_with_a_way_out(step: str, text: str) -> None:
    error = explain_refusal("x", step, errno.EPERM)
    assert str(error).startswith(f"lab `x`: {text}: Operation not permitted")
    assert error.next_steps
