"""The compiled search: from a session's last clicks to its neighbours, and to the scores of their items.

Only items of neighbours are touched, so an answer takes as long with a million items as with a thousand. The compiled
functions take one session after the other, so an answer does not depend on the rest of its batch.

Sizes in the shape comments: Q sessions, n clicks of one, I items, k best items.
"""

import numpy as np
from numpy.typing import NDArray

from rankers.compiled import compiled_in_order
from rankers.neighbours.method import Weights
from rankers.neighbours.session_index import SessionIndex
from rankers.scoring.topk import insert


@compiled_in_order
def best_items(
    clicks: NDArray[np.int64],
    offsets: NDArray[np.int64],
    index: SessionIndex,
    weights: Weights,
    neighbours: int,
    newest: int,
    allowed: NDArray[np.bool_],
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    """The k best items of each session. Items of no neighbour have score 0; equal scores are ordered by row.

    Args:
        clicks: the sessions' last clicks, concatenated.
        offsets: (Q+1,); the clicks of session q are `clicks[offsets[q]:offsets[q+1]]`, at most the window of them.
        index: of the training sessions.
        weights: of the method.
        neighbours: number of neighbours.
        newest: number of candidates.
        allowed: (1, I) for all sessions, or (Q, I).
        rows: (Q, k) int64, -1 before; written.
        scores: (Q, k) float32, -inf before; written.
    """
    of_all = np.zeros(allowed.shape[1], dtype=np.float32)  # (I,)
    touched = np.empty(allowed.shape[1], dtype=np.int32)
    k = rows.shape[1]
    for query in range(len(offsets) - 1):
        may, best, numbers = allowed[query % len(allowed)], scores[query], rows[query]
        count = add_scores(
            clicks[offsets[query] : offsets[query + 1]], index, weights, neighbours, newest, of_all, touched
        )
        found = 0
        for item in touched[:count]:
            score = of_all[item]
            if may[item] and (score > best[k - 1] or (score == best[k - 1] and item < numbers[k - 1])):
                insert(score, item, best, numbers)
                found += 1
        row = 0
        while found < k and row < len(may):
            if may[row] and of_all[row] == 0:
                numbers[found], best[found] = row, 0
                found += 1
            row += 1
        of_all[touched[:count]] = 0


@compiled_in_order
def scores_of_items(
    clicks: NDArray[np.int64],
    offsets: NDArray[np.int64],
    index: SessionIndex,
    weights: Weights,
    neighbours: int,
    newest: int,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    """Write the scores (Q, R) of the given rows (R,); the other arguments are those of `best_items`."""
    items = len(index.of_item) - 1
    of_all = np.zeros(items, dtype=np.float32)
    touched = np.empty(items, dtype=np.int32)
    for query in range(len(offsets) - 1):
        count = add_scores(
            clicks[offsets[query] : offsets[query + 1]], index, weights, neighbours, newest, of_all, touched
        )
        scores[query] = of_all[rows]
        of_all[touched[:count]] = 0


@compiled_in_order
def add_scores(
    clicks: NDArray[np.int64],
    index: SessionIndex,
    weights: Weights,
    neighbours: int,
    newest: int,
    scores: NDArray[np.float32],
    touched: NDArray[np.int32],
) -> int:
    """Add the scores of one session.

    Args:
        clicks: (n,).
        index: of the training sessions.
        weights: of the method.
        neighbours: number of neighbours.
        newest: number of candidates.
        scores: (I,), zeros before.
        touched: (I,), written: the items whose score is above 0.

    Returns:
        The number of these items.
    """
    found = np.empty(newest, dtype=np.int32)
    back = np.empty(newest, dtype=np.int32)
    similarity = np.empty(newest, dtype=np.float32)
    candidates = _candidates(clicks, index, weights, found, back, similarity)
    least, ties = _least_similar(similarity[:candidates], neighbours)
    count = 0
    for candidate in range(candidates):
        if similarity[candidate] < least:
            continue
        if similarity[candidate] == least:
            if ties == 0:
                continue
            ties -= 1
        ago = int(back[candidate])
        weight = similarity[candidate] * weights.back[min(ago, len(weights.back) - 1)]
        first, end = index.of_session[found[candidate]], index.of_session[found[candidate] + 1]
        place = first
        while place < end - 1 and index.items[place] != clicks[len(clicks) - 1 - ago]:  # the end: of a damaged index
            place += 1
        at = int(index.positions[place])
        for place in range(first, end):
            item = index.items[place]
            distance = min(abs(int(index.positions[place]) - at), len(weights.distance) - 1)
            added = np.float32(weight * weights.distance[distance] * weights.items[item])
            if added > 0:
                if scores[item] == 0:
                    touched[count] = item
                    count += 1
                scores[item] += added
    return count


@compiled_in_order
def _candidates(
    clicks: NDArray[np.int64],
    index: SessionIndex,
    weights: Weights,
    found: NDArray[np.int32],
    back: NDArray[np.int32],
    similarity: NDArray[np.float32],
) -> int:
    """The newest sessions that share an item with the clicks, newest first: the items' lists, merged.

    Args:
        clicks: (n,).
        index: of the training sessions.
        weights: of the method.
        found: (C,), written: the sessions, at most C.
        back: (C,), written: how many clicks ago the newest shared item was clicked.
        similarity: (C,), written.

    Returns:
        How many there are.
    """
    last = len(clicks) - 1
    ago = np.empty(len(clicks), dtype=np.int64)  # for each list: how many clicks ago its item was clicked last
    place = np.empty(len(clicks), dtype=np.int64)  # of its head in `index.sessions`
    head = np.empty(len(clicks), dtype=np.int64)  # its newest session that is not merged yet; -1 at its end
    lists = 0
    for distance in range(len(clicks)):
        item = clicks[last - distance]
        known = index.of_item[item] == index.of_item[item + 1]
        for other in ago[:lists]:
            known = known or clicks[last - other] == item
        if not known:
            ago[lists], place[lists] = distance, index.of_item[item]
            head[lists] = index.sessions[place[lists]]
            lists += 1
    count = 0
    while count < len(found):
        newest = np.int64(-1)
        for number in range(lists):
            newest = max(newest, head[number])
        if newest < 0:
            break
        total, nearest = 0.0, np.int64(-1)
        for number in range(lists):
            if head[number] == newest:
                total += weights.clicks[len(clicks), ago[number]]
                if nearest < 0:
                    nearest = ago[number]
                place[number] += 1
                ended = place[number] == index.of_item[clicks[last - ago[number]] + 1]
                head[number] = -1 if ended else index.sessions[place[number]]
        found[count], back[count] = newest, nearest
        similarity[count] = total * weights.sessions[newest]
        count += 1
    return count


@compiled_in_order
def _least_similar(similarity: NDArray[np.float32], neighbours: int) -> tuple[np.float32, int]:
    """The similarity of the last neighbour, and how many neighbours have just that one.

    Args:
        similarity: (C,) of the candidates.
        neighbours: how many of them are taken, if there are as many.
    """
    if len(similarity) <= neighbours:
        return np.float32(0), len(similarity)
    least = _in_order(similarity.copy(), len(similarity) - neighbours)
    more = 0
    for one in similarity:
        more += one > least
    return least, neighbours - more


@compiled_in_order
def _in_order(values: NDArray[np.float32], place: int) -> np.float32:
    """The value that sorting would put at a place. The values are rearranged.

    Hoare's selection ("Find", Communications of the ACM 4, 1961). `np.partition` does the same, but takes the compiler
    six seconds.
    """
    first, last = 0, len(values) - 1
    while first < last:
        pivot, low, high = values[(first + last) // 2], first, last
        while low <= high:
            while values[low] < pivot:
                low += 1
            while pivot < values[high]:
                high -= 1
            if low <= high:
                values[low], values[high] = values[high], values[low]
                low += 1
                high -= 1
        if place <= high:
            last = high
        elif place >= low:
            first = low
        else:
            break
    value: np.float32 = values[place]
    return value
