"""The most clicked items, in bounded memory."""

from worker.popular import PopularItems


def test_the_most_clicked_items_come_first() -> None:
    popular = PopularItems()
    popular.add([1, 2, 2, 3, 3, 3])
    popular.add([2, 2, 4])
    assert popular.top() == ([2, 3, 1, 4], [4.0, 3.0, 1.0, 1.0])


def test_above_the_capacity_the_most_clicked_half_and_the_list_are_kept() -> None:
    popular = PopularItems(capacity=100)
    for item in range(60):
        popular.add([item] * (60 - item))
    assert len(popular._counts) == 60  # nothing is given up below the capacity
    popular.add(list(range(1000, 1041)))
    assert sorted(popular._counts) == list(range(50))
    assert popular.top() == (list(range(20)), [float(60 - item) for item in range(20)])
    popular.add([70, 0])
    assert popular.top()[1][0] == 61.0
