"""The secrets of an account come from their owner, sealed, or not at all."""

import pytest
from chassis.secrets import SystemKey, new_system_key
from contracts.config import CredentialTold, Secrets

from services.downloader.adapters.accounts import Accounts
from services.downloader.adapters.engine import SourcesUnavailable

KEY = new_system_key()
SECRETS = Secrets(cookies={"SESSDATA": "s3cret"}, headers={"X-Token": "t0ken"}, proxy_user="ann", proxy_password="pw")


class Bus:
    """A bus with an owner that answers; ``None`` is silence."""

    def __init__(self, answer):
        self.answer, self.unsubscribed = answer, 0

    async def listen(self, subject, handler):
        assert subject == "sig.config.credential_told.mine"
        self._handler = handler
        return self

    async def unsubscribe(self):
        self.unsubscribed += 1

    async def send_direct(self, command):
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            await self._handler("", self.answer)


def told(key=KEY, secrets=SECRETS):
    sealed = SystemKey(key).seal(secrets.model_dump_json()) if secrets else ""
    return CredentialTold(credential_id="mine", domains=("example.org",), sealed=sealed)


async def test_an_answer_is_opened():
    bus = Bus(told())
    login = await Accounts(bus, KEY).login("mine")
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
    with pytest.raises(SourcesUnavailable, match=why):
        await Accounts(bus, key, timeout_s=0.05).login("mine")
    assert bus.unsubscribed == bool(key)
