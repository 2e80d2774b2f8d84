"""Connections too short to keep."""

from __future__ import annotations

from media.repair import RepairKind, RepairLog
from media.repair.defragment import Defragment

from libs.media.tests import flv_streams as flv


def test_items_are_held_until_there_are_enough_media_tags():
    log = RepairLog()
    operator = Defragment(10, log)
    source = [flv.avc_header(), flv.aac_header(), *flv.gop(0, 1)]
    assert operator.process(source[:11]) == []  # nine media tags
    assert operator.process(source[11:12]) == source[:12]
    assert operator.process(source[12:]) == source[12:]
    assert list(log) == []


def test_a_connection_that_ends_before_is_forgotten_and_told():
    log = RepairLog()
    operator = Defragment(10, log)
    operator.process(flv.gop(0, 1)[:9])
    operator.end_connection()
    assert [(repair.kind, repair.amount) for repair in log] == [(RepairKind.FRAGMENT, 9)]
    # And the next connection is counted from its own beginning
    assert operator.process(flv.gop(0, 2)[:9]) == []


def test_a_connection_that_was_long_enough_loses_nothing_at_its_end():
    log = RepairLog()
    operator = Defragment(3, log)
    operator.process(flv.gop(0, 1))
    operator.end_connection()
    assert list(log) == []
