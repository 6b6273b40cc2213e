"""The official way to make pairs, plainly written: slow, with lists of tokens, one document and one token at a time.

Source: create_pretraining_data.py of google-research/bert. Each number is drawn by the function `draw(purpose,
*counters)` instead of from one generator, so that its results can be compared with those of the arrays.
"""

from __future__ import annotations

from collections.abc import Callable

from components.pretraining.pairs import DOCUMENT, FRONT, RANDOM, SHORT, SPLIT, START, TARGET

Draw = Callable[..., float]
Token = int


def randint(low: int, high: int, draw: float) -> int:
    return low + int(draw * (high - low + 1))


def pairs_of_document(
    documents: list[list[list[Token]]], index: int, room: int, short_share: float, draw: Draw
) -> list[tuple[list[Token], list[Token], bool]]:
    """The pairs (a, b, is random) of a document; `draw` gets the purpose, then the chunk and further counters."""
    document = documents[index]
    target = room
    if draw(SHORT) < short_share:
        target = randint(2, room, draw(TARGET))
    found = []
    chunk_tokens: list[list[Token]] = []
    length = 0
    chunk = 0
    i = 0
    while i < len(document):
        chunk_tokens.append(document[i])
        length += len(document[i])
        if i == len(document) - 1 or length >= target:
            a_end = 1
            if len(chunk_tokens) >= 2:
                a_end = randint(1, len(chunk_tokens) - 1, draw(SPLIT, chunk))
            tokens_a = [token for sentence in chunk_tokens[:a_end] for token in sentence]
            tokens_b: list[Token] = []
            is_random = len(chunk_tokens) == 1 or draw(RANDOM, chunk) < 0.5
            if is_random:
                others = [number for number in range(len(documents)) if number != index]
                other = documents[others[randint(0, len(others) - 1, draw(DOCUMENT, chunk))]]
                start = randint(0, len(other) - 1, draw(START, chunk))
                for sentence in other[start:]:
                    tokens_b.extend(sentence)
                    if len(tokens_b) >= target - len(tokens_a):
                        break
                i -= len(chunk_tokens) - a_end  # unused sentences are put back
            else:
                for sentence in chunk_tokens[a_end:]:
                    tokens_b.extend(sentence)
            truncate(tokens_a, tokens_b, room, draw, chunk)
            found.append((tokens_a, tokens_b, is_random))
            chunk_tokens, length = [], 0
            chunk += 1
        i += 1
    return found


def truncate(tokens_a: list[Token], tokens_b: list[Token], room: int, draw: Draw, chunk: int) -> None:
    """Take tokens from the longer segment until both fit, from the front or the back."""
    taken = [0, 0]
    while len(tokens_a) + len(tokens_b) > room:
        segment = 0 if len(tokens_a) > len(tokens_b) else 1
        longer = tokens_b if segment else tokens_a
        if draw(FRONT, chunk, segment, taken[segment]) < 0.5:
            del longer[0]
        else:
            longer.pop()
        taken[segment] += 1


def masks(
    tokens: list[Token],
    begins_word: list[bool],
    special: list[bool],
    share: float,
    priority: list[float],
    fate: list[float],
    replacement: list[Token],
    mask: Token,
) -> tuple[list[Token], dict[int, Token]]:
    """A sequence with tokens hidden, and the hidden tokens by their places.

    Words are taken in the order of the priority of their first tokens; one that is more than what is still wanted is
    passed over. Source: `create_masked_lm_predictions`, where the words are shuffled instead.
    """
    words: list[list[int]] = []
    for place in range(len(tokens)):
        if special[place]:
            continue
        if begins_word[place] or not words or special[place - 1]:
            words.append([place])
        else:
            words[-1].append(place)
    words.sort(key=lambda word: priority[word[0]])
    wanted = max(1, round(len(tokens) * share))
    hidden, truths = list(tokens), {}
    for word in words:
        if len(truths) >= wanted:
            break
        if len(truths) + len(word) > wanted:
            continue
        for place in word:
            if fate[place] < 0.8:
                hidden[place] = mask
            elif fate[place] >= 0.9:
                hidden[place] = replacement[place]
            truths[place] = tokens[place]
    return hidden, truths
