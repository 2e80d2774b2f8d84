"""The garbage collector looks at what came after the start, and still finds cycles."""

from __future__ import annotations

import gc
import weakref

import pytest
from chassis.collector import YOUNG, settle


class Node:
    """Something that can hold itself."""

    other: Node


@pytest.fixture(autouse=True)
def restored():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_is_there_is_left_alone_and_cycles_go_all_the_same():
    settle()
    assert gc.get_freeze_count() > 1000
    node = Node()
    node.other = node
    gone = weakref.ref(node)
    del node
    kept = [[] for _ in range(2 * YOUNG)]
    assert gone() is None and len(kept) > YOUNG
