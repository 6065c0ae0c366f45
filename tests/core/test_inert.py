"""Text of strangers: what cannot be seen is spelled out, on pages and in mails, and what people write is left alone."""

import pytest

from registry.core.inert import hidden, visible, visible_page

DEFAULT_IGNORABLE = (
    "00AD 034F 061C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F 3164 FE00-FE0F FEFF FFA0 FFF0-FFF8 "
    "1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"
)
"""As Unicode 16 lists the property (DerivedCoreProperties.txt)."""


def test_all_that_unicode_calls_ignorable_is_spelled_out():
    for span in DEFAULT_IGNORABLE.split():
        first, last = (int(end, 16) for end in (span.split("-") * 2)[:2])
        for code in range(first, last + 1):
            text = f"a{chr(code)}b"
            assert visible(text) == f"a[U+{code:04X}]b"
            assert visible_page(text.encode()) == visible(text).encode(), "a page is looked through faster, not less"


@pytest.mark.parametrize(
    "text", ["❤️", "1️⃣", "#️⃣ and *️⃣", "👁️‍🗨️", "☎︎", "👩‍💻", "©️ 2026", "می‌خواهم", "naïve – “quoted” … 名前 🇨🇭 👍🏽"]
)
def test_what_people_write_is_left_alone(text):
    assert visible(text) == text
    assert visible_page(text.encode()) == text.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\ufe0f", "a[U+FE0F]"),
        ("1\ufe0f", "1[U+FE0F]"),  # no keycap follows
        ("❤\ufe0f\ufe0f\ufe0e", "❤\ufe0f[U+FE0F][U+FE0E]"),
        ("❤\ufe00", "❤[U+FE00]"),
        ("\ufe0f❤", "[U+FE0F]❤"),
        ("note\U0001d173\U0001d17a", "note[U+1D173][U+1D17A]"),
    ],
)
def test_bytes_do_not_hide_in_selectors(text, shown):
    assert visible(text) == shown


def test_a_selector_carries_no_message_behind_a_letter():
    message = "".join(chr(0xFE00 + nibble) for byte in b"obey" for nibble in divmod(byte, 16))
    assert len(hidden(f"x{message}")) == 8
