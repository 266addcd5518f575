"""Text for properties: whatever Unicode has, thick with what the scanners look at."""

from __future__ import annotations

from hypothesis import strategies as st

from plm_data.text.characters import LIMIT

# Assigned to a character by every version of Unicode that is at work here, and of a class in our table.
_ASSIGNED = st.characters(exclude_categories=("Cs", "Cn", "Cc"), max_codepoint=LIMIT - 1)


def unicode_text(often: str, max_size: int = 60) -> st.SearchStrategy[str]:
    """Texts of any assigned characters, most of them of ``often``."""
    frequent = st.sampled_from(often)
    return st.text(alphabet=st.one_of(frequent, frequent, _ASSIGNED), max_size=max_size)


def pieces_of(pieces: list[str], max_pieces: int = 25) -> st.SearchStrategy[str]:
    """Texts put together from pieces."""
    return st.lists(st.sampled_from(pieces), max_size=max_pieces).map("".join)
