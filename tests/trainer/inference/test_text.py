"""Pieces of text that come token by token, against the text of all tokens."""

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from trainer.inference.text import LONGEST, TextStream


def byte_ids(tokenizer: Tokenizer, data: bytes) -> list[int]:
    """Tokens of any bytes, be they text or not; those that no text has stand for 0x80."""
    whole = [*map(chr, range(0x800)), "\u0800", "\ud7ff", *map(chr, range(0xE000, 0x10FFFF, 0x1000))]
    found = {
        byte: token for char in whole for byte, token in zip(char.encode(), tokenizer.encode(char).ids, strict=True)
    }
    return [found.get(byte, found[0x80]) for byte in data]


def pieces(tokenizer: Tokenizer, tokens: list[int], stops: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(tokenizer, stops)
    found = []
    for token in tokens:
        found.append(stream.add(token))
        if stream.stopped:
            return found
    return [*found, stream.end()]


@given(text=st.text(max_size=30))
def test_pieces_are_whole_characters_and_make_up_the_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    found = pieces(tokenizer, ids)
    assert "".join(found) == tokenizer.decode(ids)
    position = 0
    for piece in found:  # each a stretch of the text itself, so no half of a character shows
        assert text[position : position + len(piece)] == piece
        position += len(piece)


@given(data=st.binary(max_size=60))
def test_any_bytes_make_the_text_of_all_together(tokenizer: Tokenizer, data: bytes) -> None:
    ids = byte_ids(tokenizer, data)
    assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids)


def test_a_long_run_of_stray_bytes_is_not_kept(tokenizer: Tokenizer) -> None:
    stray, start = byte_ids(tokenizer, b"\x80\xf0")
    for run in ([stray] * 300, [start] * 300, [start, stray] * 150, [start, stray, stray] * 100):
        stream = TextStream(tokenizer, ())
        text = ""
        for token in run:
            text += stream.add(token)
            assert len(stream._pending) <= LONGEST
        assert text + stream.end() == tokenizer.decode(run)


@given(
    text=st.text("abé\U0001f600", max_size=20),
    stops=st.lists(st.text("abé\U0001f600", min_size=1, max_size=4), max_size=3),
)
def test_text_ends_before_the_first_stop(tokenizer: Tokenizer, text: str, stops: list[str]) -> None:
    """A token is a byte here, so stops lie across tokens and begin and end within characters' bytes."""
    ids = tokenizer.encode(text).ids
    found = pieces(tokenizer, ids, tuple(stops))
    # a stop is seen when it is complete: the one that ends first, not the one that begins first
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    shown = text[: min(ends)] if ends else text
    starts = [shown.find(stop) for stop in stops if stop in shown]
    assert "".join(found) == shown[: min(starts, default=len(shown))]


def test_what_may_begin_a_stop_is_held_back_until_it_does_not(tokenizer: Tokenizer) -> None:
    stop = "\n\nQ:"
    assert pieces(tokenizer, tokenizer.encode("a\n\nb").ids, (stop,)) == ["a", "", "", "\n\nb", ""]
    assert pieces(tokenizer, tokenizer.encode("a\n\nQ").ids, (stop,)) == ["a", "", "", "", "\n\nQ"]
    assert pieces(tokenizer, tokenizer.encode("a\n\nQ: x").ids, (stop,)) == ["a", "", "", "", ""]


def test_special_tokens_have_no_text(tokenizer: Tokenizer) -> None:
    assert pieces(tokenizer, [*tokenizer.encode("a").ids, 257, *tokenizer.encode("b").ids]) == ["a", "", "b", ""]
