import pytest

from rasad.text.marks import closes


@pytest.mark.parametrize(
    ("mark", "before", "expected"),
    [
        ('"', 'قال "نعم', True),
        ('"', 'قال "نعم"', False),
        ('"', "قال نعم", False),
        ("»", "قال «نعم", True),
        ("»", "قال «نعم» ثم «لا» ثم", False),
        (")", ("حركة", "(", "حماس"), True),
        (")", ("حركة", "(", "حماس", ")"), False),
        ("]", "(نعم", False),
        ("،", "نعم", False),
    ],
)
def test_a_mark_closes_what_is_open(mark: str, before: str | tuple[str, ...], expected: bool) -> None:
    assert closes(mark, before) is expected
