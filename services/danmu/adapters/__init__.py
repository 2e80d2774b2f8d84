"""The outside world of the chat service: chat protocols, and the files that chat is written to.

A protocol is one codec (pure) and one driver, registered with `@source("kind")`; its module is imported here.
"""

from __future__ import annotations

from services.danmu.adapters import acfun_driver as acfun_driver
from services.danmu.adapters import bigo_driver as bigo_driver
from services.danmu.adapters import bilibili_driver as bilibili_driver
from services.danmu.adapters import chzzk_driver as chzzk_driver
from services.danmu.adapters import douyin_driver as douyin_driver
from services.danmu.adapters import douyu_driver as douyu_driver
from services.danmu.adapters import huya_driver as huya_driver
from services.danmu.adapters import kick_driver as kick_driver
from services.danmu.adapters import niconico_driver as niconico_driver
from services.danmu.adapters import soop_driver as soop_driver
from services.danmu.adapters import tiktok_driver as tiktok_driver
from services.danmu.adapters import twitcasting_driver as twitcasting_driver
from services.danmu.adapters import twitch_driver as twitch_driver
from services.danmu.adapters import youtube_driver as youtube_driver
from services.danmu.adapters.registry import InvalidDescriptor, UnknownChatKind, kinds, open_source, source

__all__ = ["InvalidDescriptor", "UnknownChatKind", "kinds", "open_source", "source"]
