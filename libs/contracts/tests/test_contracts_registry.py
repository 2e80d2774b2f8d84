"""Declaring message classes, finding them by type, and reading old majors."""

from __future__ import annotations

import pytest
from contracts.message import Command, Event, Signal
from contracts.registry import Registry, UnknownMessage
from pydantic import ValidationError


def declare(base: type, type: str, key: str = "thing_id") -> type:
    class Declared(base, type=type, key=key):  # type: ignore[misc, valid-type, call-arg]
        thing_id: str

    return Declared


def test_a_declared_class_knows_its_parts(private_registry: Registry) -> None:
    event = declare(Event, "shop.thing.sold_out.v12")
    assert (event.message_type, event.service, event.aggregate) == ("shop.thing.sold_out.v12", "shop", "thing")
    assert (event.message_name, event.major, event.key_field) == ("sold_out", 12, "thing_id")
    assert event.full_type() == "aircheck.shop.thing.sold_out.v12"
    instance = event(thing_id="t1")
    assert (instance.key, instance.stream) == ("t1", "thing-t1")


def test_a_declared_class_is_found_with_and_without_the_product_prefix(private_registry: Registry) -> None:
    command = declare(Command, "shop.sell.v1")
    assert private_registry.find("shop.sell.v1") is command
    assert private_registry.find("aircheck.shop.sell.v1") is command


def test_classes_are_listed_by_kind_in_the_order_of_their_types(private_registry: Registry) -> None:
    later, earlier = declare(Event, "shop.thing.sold.v1"), declare(Event, "shop.thing.bought.v1")
    command, signal = declare(Command, "shop.sell.v1"), declare(Signal, "shop.price.v1")
    assert private_registry.events() == [earlier, later]
    assert private_registry.commands() == [command]
    assert private_registry.signals() == [signal]
    assert private_registry.all() == [signal, command, earlier, later]


def test_commands_are_listed_by_their_owner_and_a_later_one_is_among_them(private_registry: Registry) -> None:
    sell, _elsewhere = declare(Command, "shop.sell.v1"), declare(Command, "bank.pay.v1")
    assert private_registry.commands_of("shop") == (sell,)
    buy = declare(Command, "shop.buy.v1")
    assert private_registry.commands_of("shop") == (buy, sell)
    assert private_registry.commands_of("nobody") == ()


def test_a_class_without_a_type_is_a_shape_and_not_registered(private_registry: Registry) -> None:
    class Shape(Event):
        thing_id: str

    assert private_registry.all() == []
    assert Shape.message_type == ""


def test_a_type_declared_twice_is_refused(private_registry: Registry) -> None:
    declare(Event, "shop.thing.sold.v1")
    with pytest.raises(TypeError, match="twice"):
        declare(Event, "shop.thing.sold.v1")


@pytest.mark.parametrize(
    ("base", "type"),
    [
        (Event, "shop.sold.v1"),
        (Command, "shop.thing.sell.v1"),
        (Signal, "shop.thing.price.v1"),
        (Event, "shop.thing.sold"),
        (Event, "shop.thing.sold.v0"),
        (Event, "shop.thing.sold.v01"),
        (Event, "shop.thing.sold.v1\n"),
        (Event, "shop.thing.sold.v١"),
        (Event, "Shop.thing.sold.v1"),
        (Event, "shop.thing-y.sold.v1"),
        (Event, "shop.thing.*.v1"),
        (Event, "shop..sold.v1"),
        (Event, "a.shop.thing.sold.v1"),
    ],
)
def test_a_malformed_type_is_refused(private_registry: Registry, base: type, type: str) -> None:
    with pytest.raises(TypeError, match="is not a message type"):
        declare(base, type)
    assert private_registry.all() == []


def test_a_key_that_is_no_field_is_refused(private_registry: Registry) -> None:
    with pytest.raises(TypeError, match="'id' is not one of its fields"):
        declare(Event, "shop.thing.sold.v1", key="id")


@pytest.mark.parametrize("type", ["shop.thing.sold.v2", "other.thing.sold.v1", "", "aircheck."])
def test_an_unknown_type_is_reported_as_such(private_registry: Registry, type: str) -> None:
    declare(Event, "shop.thing.sold.v1")
    with pytest.raises(UnknownMessage):
        private_registry.find(type)
    with pytest.raises(UnknownMessage):
        private_registry.decode(type, b"{}")
    assert not private_registry.reads(type)


@pytest.fixture
def three_majors(private_registry: Registry) -> Registry:
    """v1 has no class any more, v2 is still published, v3 is the newest."""

    class SoldV2(Event, type="shop.thing.sold.v2", key="thing_id"):
        thing_id: str
        price: int

    class SoldV3(Event, type="shop.thing.sold.v3", key="thing_id"):
        thing_id: str
        price: int
        currency: str

    private_registry.upcast("shop.thing.sold.v1", "shop.thing.sold.v2")(
        lambda data: {"thing_id": data["id"], "price": data["price"]}
    )
    private_registry.upcast("shop.thing.sold.v2", "shop.thing.sold.v3")(lambda data: {**data, "currency": "EUR"})
    return private_registry


@pytest.mark.parametrize(
    ("type", "body"),
    [
        ("aircheck.shop.thing.sold.v1", b'{"id": "t", "price": 5}'),
        ("shop.thing.sold.v2", b'{"thing_id": "t", "price": 5}'),
        ("shop.thing.sold.v3", b'{"thing_id": "t", "price": 5, "currency": "EUR"}'),
    ],
)
def test_every_old_major_is_read_as_the_newest(three_majors: Registry, type: str, body: bytes) -> None:
    newest = three_majors.find("shop.thing.sold.v3")
    assert three_majors.decode(type, body) == newest(thing_id="t", price=5, currency="EUR")
    assert three_majors.reads(type)


@pytest.mark.parametrize("body", [b'{"id": "t", "price": "much"}', b"[1]", b'"text"', b"{", b""])
def test_a_bad_body_of_an_old_major_is_a_value_error(three_majors: Registry, body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        three_majors.decode("shop.thing.sold.v1", body)


def test_a_bad_body_of_the_newest_major_is_a_validation_error(three_majors: Registry) -> None:
    with pytest.raises(ValidationError):
        three_majors.decode("shop.thing.sold.v3", b'{"thing_id": "t"}')


def test_a_step_whose_end_has_no_class_cannot_be_read(private_registry: Registry) -> None:
    private_registry.upcast("shop.thing.sold.v1", "shop.thing.sold.v2")(dict)
    assert not private_registry.reads("shop.thing.sold.v1")
    with pytest.raises(UnknownMessage):
        private_registry.decode("shop.thing.sold.v1", b"{}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shop.thing.sold.v1", "shop.thing.sold.v3"),
        ("shop.thing.sold.v3", "shop.thing.sold.v1"),
        ("shop.thing.sold.v3", "shop.thing.sold.v3"),
    ],
)
def test_a_second_step_or_a_circle_is_refused(three_majors: Registry, old: str, new: str) -> None:
    with pytest.raises(TypeError):
        three_majors.upcast(old, new)(dict)
