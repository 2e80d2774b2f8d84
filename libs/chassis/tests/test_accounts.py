"""The secrets of an account come from their owner, sealed, or not at all."""

import pytest
from chassis.accounts import Accounts, AccountUnavailable, Login
from chassis.secrets import SystemKey, new_system_key
from contracts.config import CredentialTold, Secrets

SETTING = "DOWNLOADER_SECRET_KEY"
KEY = new_system_key()
SECRETS = Secrets(cookies={"SESSDATA": "s3cret"}, headers={"X-Token": "t0ken"}, proxy_user="ann", proxy_password="pw")


class Bus:
    """A bus with an owner that answers; ``None`` is silence."""

    def __init__(self, answer):
        self.answer, self.unsubscribed, self.asked = answer, 0, 0

    async def listen(self, subject, handler):
        assert subject == "sig.config.credential_told.mine"
        self._handler = handler
        return self

    async def unsubscribe(self):
        self.unsubscribed += 1

    async def send_direct(self, command):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            await self._handler("", self.answer)


def told(key=KEY, secrets=SECRETS):
    sealed = SystemKey(key).seal(secrets.model_dump_json()) if secrets else ""
    return CredentialTold(credential_id="mine", domains=("example.org",), sealed=sealed)


async def test_an_answer_is_opened():
    bus = Bus(told())
    login = await Accounts(bus, KEY, setting=SETTING).login("mine")
    assert (login.domains, login.cookies, login.headers) == (("example.org",), SECRETS.cookies, SECRETS.headers)
    assert (login.proxy_user, login.proxy_password, bus.unsubscribed) == ("ann", "pw", 1)
    assert "s3cret" not in repr(login) and "t0ken" not in repr(login)


@pytest.mark.parametrize(
    ("answer", "key", "why"),
    [
        (told(secrets=None), KEY, "there is no credential mine"),
        (told(key=new_system_key()), KEY, "another system key"),
        (None, KEY, "nobody tells"),
        (ConnectionError("gone"), KEY, "nobody tells"),
        (told(), "", "DOWNLOADER_SECRET_KEY"),
    ],
    ids=["unknown", "sealed otherwise", "silence", "no bus", "no key"],
)
async def test_without_an_answer_the_reason_is_said_and_nothing_stays_behind(answer, key, why):
    bus = Bus(answer)
    with pytest.raises(AccountUnavailable, match=why):
        await Accounts(bus, key, setting=SETTING, timeout_s=0.05).login("mine")
    assert bus.unsubscribed == bool(key)


@pytest.mark.parametrize(("fresh_s", "asked"), [(0.0, 2), (3600.0, 1)])
async def test_an_answer_serves_again_for_as_long_as_it_may(fresh_s, asked):
    bus = Bus(told())
    accounts = Accounts(bus, KEY, setting=SETTING, fresh_s=fresh_s)
    assert await accounts.login("mine") == await accounts.login("mine")
    assert bus.asked == asked


async def test_what_cannot_be_had_is_asked_for_again():
    bus = Bus(told(secrets=None))
    accounts = Accounts(bus, KEY, setting=SETTING, fresh_s=3600.0)
    with pytest.raises(AccountUnavailable):
        await accounts.login("mine")
    bus.answer = told()
    assert (await accounts.login("mine")).cookies == SECRETS.cookies


@pytest.mark.parametrize(
    ("domains", "platform", "left"),
    [
        (("bilibili.com", "twitch.tv"), ("bilibili.com",), ("bilibili.com",)),
        (("live.example.org",), ("example.org",), ("live.example.org",)),
        (("example.org",), ("live.example.org",), ("example.org",)),
        (("evilbilibili.com", "bilibili.com.evil.net"), ("bilibili.com",), ()),
        ((), ("bilibili.com",), ()),
    ],
)
def test_a_login_is_shown_to_the_platform_alone(domains, platform, left):
    login = Login(domains, {"SESSDATA": "x"}, {}, "ann", "pw").limited_to(platform)
    assert (login.domains, login.proxy_user, login.proxy_password) == (left, "ann", "pw")
    assert bool(login.cookies_for("bilibili.com")) is ("bilibili.com" in left)
