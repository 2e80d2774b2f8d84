"""What a chat operator watches."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

LINES = Counter("aircheck_chat_lines_total", "Chat lines received and journalled.", ["kind"])
LOST = Counter("aircheck_chat_lines_lost_total", "Received lines that are in no file, by reason.", ["reason"])
LIVE = Counter("aircheck_chat_live_lines_total", "Lines for browsers by what became of them.", ["outcome"])
CONNECTED = Gauge("aircheck_chat_connections", "Chat connections that stand.")
OUTAGES = Counter("aircheck_chat_outages_total", "Chat connections that broke.", ["kind"])
FILES = Counter("aircheck_chat_files_total", "Finished chat files.")
LONG_OUTAGES = Counter("aircheck_chat_long_outages_total", "Chats that nobody could join for five minutes.", ["kind"])
