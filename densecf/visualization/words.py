"""Words that must fit into a figure."""


def shortened(text: str, length: int) -> str:
    """A text of at most so many characters, with "…" for its middle: names differ at both ends."""
    return text if len(text) <= length else text[: max(1, length // 2 - 1)] + "…" + text[-(length // 2) :]
