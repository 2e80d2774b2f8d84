"""The outside world of the downloader: sources of media, HTTP, files."""
