"""Importing this module declares the whole vocabulary."""

from contracts import config, danmu, downloader, gateway, monitor, notifier, pipeline, scheduler, system, uploader

MODULES = (config, scheduler, monitor, downloader, danmu, pipeline, uploader, notifier, gateway, system)
